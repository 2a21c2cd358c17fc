// SPDX-License-Identifier: Apache-2.0
// The conv1d family with bfloat16 products and float32 sums on AMX. x is activated once per element
// into planes of 32 channels, rows of 64 bytes: a tap is then an offset of a whole tile.
#include <type_traits>

#include "core/scratch.h"
#include "cpu/amx/product.h"
#include "cpu/avx512/vec.h"
#include "cpu/conv_stage.h"
#include "cpu/conv_store.h"

namespace vivace::amx {
namespace {

using cpu::BFloat16;
using cpu::Conv;
using cpu::Part;
using cpu::Unit;

// AVX-512's registers with its own conversion to bfloat16, which takes subnormal numbers for zero.
struct Vec : avx512::Vec {
  using avx512::Vec::store;
  static void store(BFloat16* p, Reg v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
  static void store(BFloat16* p, Reg v, int n) {
    _mm256_mask_storeu_epi16(p, first(n), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
};

// Weights above this do not stay in L2 beside the rows; measured between 1.2 and 2.1 MB.
constexpr std::int64_t kInL2 = 3 << 19;
constexpr int kBuffers = 2 * kBlockFloats * 4;  // of the epilogue

inline int whole(int n) { return (n + kRows - 1) / kRows * kRows; }
inline int planes_of(int channels) { return (channels + cpu::kBlock - 1) / cpu::kBlock; }

// Bytes of a plane of `rows` rows: an odd number of lines, so that planes fall on different sets of
// the cache.
inline std::int64_t plane_bytes(std::int64_t rows) { return (rows | 1) * kRowBytes; }

// Two registers as the 32 bfloat16 of a plane's row.
[[gnu::always_inline]] inline void put(char* to, __m512 low, __m512 high) {
  _mm512_store_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

std::int64_t staged_bytes(const Conv& conv, int rows) {
  return planes_of(conv.in.channels) * plane_bytes(conv.span(whole(rows)));
}

std::int64_t sums_bytes(int rows) { return std::int64_t{whole(rows)} * cpu::kBlock * 4; }

Factors stage_planes(const Conv& conv, const Part& part, char* to) {
  const std::int64_t plane = plane_bytes(conv.span(whole(part.rows)));
  // Rows that pad the last 32 are computed and dropped; they hold whatever x has there, or zeros.
  cpu::stage<Vec, 2, true>(conv, part, conv.span(whole(part.rows)),
                           [&](std::int64_t row, int channel, const __m512* v, int) {
                             put(to + channel / cpu::kBlock * plane + row * kRowBytes, v[0], v[1]);
                           });
  return {to,
          plane,
          std::int64_t{conv.stride} * kRowBytes,
          std::int64_t{conv.dilation} * kRowBytes,
          planes_of(conv.in.channels),
          conv.taps,
          static_cast<const char*>(conv.packed)};
}

template <class Finish>
void multiply(const Factors& f, int columns, const Part& part, char* memory, const Finish& finish) {
  auto* buffers = reinterpret_cast<float*>(memory);
  const std::int64_t weights = planes_of(columns) * f.block_bytes();
  if (weights <= kInL2) {
    multiply_by_rows<From::kL2>(f, part, buffers, finish);
  } else if (part.rows <= kRows) {
    multiply_by_rows<From::kMemory>(f, part, buffers, finish);
  } else {
    auto* sums = reinterpret_cast<float*>(memory + kBuffers);
    multiply_by_weights(f, part, buffers, sums, finish);
  }
}

// The product into y; x and y are float32 or bfloat16.
void multiply_into(const cpu::Output& out, const Factors& f, int columns, const Part& part,
                   char* memory) {
  cpu::dispatch_storage(out.dtype, [&](auto* type) {
    using Storage = std::remove_pointer_t<decltype(type)>;
    const cpu::Store<Vec, Storage> store(out, columns, part.clip);
    multiply(f, columns, part, memory, [&](const float* sums, int row, int block) {
      store.block(sums, part.row + row, block * cpu::kBlock);
    });
  });
}

int good_rows(const Conv& conv) {
  const int channels = conv.in.channels;
  const std::int64_t fitting = (3 << 19) / (std::int64_t{channels} * conv.stride * 2);
  const int wanted = channels > 128 && channels <= 256 ? 352 : 704;
  const int rows = fitting < wanted ? static_cast<int>(fitting) : wanted;
  return rows < 4 * kRows ? 4 * kRows : rows / kRows * kRows;
}

void conv(const Conv& conv, const Part& part) {
  const Tiles tiles;
  const std::int64_t staged = staged_bytes(conv, part.rows);
  auto* memory = static_cast<char*>(scratch(staged + kBuffers + sums_bytes(part.rows)));
  const Factors f = stage_planes(conv, part, memory);
  multiply_into(conv.out, f, conv.columns, part, memory + staged);
}

// The rows between the two products of a unit, as planes of bfloat16.
std::int64_t middle_bytes(int channels, int rows) {
  return planes_of(channels) * plane_bytes(whole(rows));
}

// Rows of the middle past the last one, which pad the last 32, are never written, and the sums that
// come of them are dropped. `row` of the middle is part.row.
void first(const Unit& unit, const Part& part, char* memory, char* middle, std::int64_t plane) {
  const Factors f = stage_planes(unit.first, part, memory);
  const int channels = unit.first.columns;
  const float* bias = unit.first.out.bias;
  multiply(f, channels, part, memory + staged_bytes(unit.first, part.rows),
           [&](const float* sums, int row, int block) {
             __m512 v[2];
#pragma GCC unroll 2
             for (int i = 0; i < 2; ++i) {
               const int column = block * cpu::kBlock + i * 16;
               const __m512 sum = _mm512_add_ps(Vec::load(sums + i * 16), Vec::load(bias + column));
               v[i] = cpu::activate<Vec, Activation::kSnake, true>(
                   sum, Vec::load(unit.alpha + column), Vec::load(unit.inverse + column), 0.0f);
             }
             put(middle + block * plane + row * kRowBytes, v[0], v[1]);
           });
}

void second(const Unit& unit, const Part& part, char* memory, const char* middle,
            std::int64_t plane) {
  const int channels = unit.first.columns;
  const Factors f{
      middle, plane, kRowBytes, 0, planes_of(channels), 1, static_cast<const char*>(unit.packed)};
  multiply_into(unit.out, f, channels, part, memory);
}

void unit(const Unit& unit, const Part& part) {
  const Tiles tiles;
  const std::int64_t staged = staged_bytes(unit.first, part.rows);
  const std::int64_t work = staged + kBuffers + sums_bytes(part.rows);
  auto* memory = static_cast<char*>(scratch(work + middle_bytes(unit.first.columns, part.rows)));
  char* middle = memory + work;
  const std::int64_t plane = plane_bytes(whole(part.rows));
  first(unit, part, memory, middle, plane);
  second(unit, part, memory + staged, middle, plane);
}

void unit_first(const Unit& unit, const Part& part, void* middle) {
  const Tiles tiles;
  auto* memory = static_cast<char*>(
      scratch(staged_bytes(unit.first, part.rows) + kBuffers + sums_bytes(part.rows)));
  first(unit, part, memory, static_cast<char*>(middle) + std::int64_t{part.row} * kRowBytes,
        plane_bytes(whole(unit.first.rows)));
}

void unit_second(const Unit& unit, const Part& part, const void* middle) {
  const Tiles tiles;
  auto* memory = static_cast<char*>(scratch(kBuffers + sums_bytes(part.rows)));
  second(unit, part, memory, static_cast<const char*>(middle) + std::int64_t{part.row} * kRowBytes,
         plane_bytes(whole(unit.first.rows)));
}

}  // namespace

const cpu::Loops conv_bfloat16{kRows, good_rows, conv, unit, middle_bytes, unit_first, unit_second};

}  // namespace vivace::amx
