// SPDX-License-Identifier: Apache-2.0
// The product of AMX: 32 rows × 32 columns at a time in four tiles of float32 sums, over planes of
// 32 channels, then taps. Sums leave through a buffer, and the epilogue of a block runs between the
// tile instructions of the next one, which hides it.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/conv.h"

namespace vivace::amx {
namespace {

constexpr int kRows = 32;                          // of a block of the result
constexpr int kRowBytes = 64;                      // 32 channels in bfloat16
constexpr int kStepBytes = 2048;                   // weights of a plane and tap: two tiles
constexpr int kBlockFloats = kRows * cpu::kBlock;  // sums of a block

struct Palette {
  alignas(64) std::uint8_t bytes[64] = {};
  Palette() {
    bytes[0] = 1;
    for (int tile = 0; tile < 8; ++tile) {
      bytes[16 + 2 * tile] = 64;  // bytes of a row
      bytes[48 + tile] = 16;      // rows
    }
  }
};

// Tiles configured for the length of a piece of work. gcc takes the instructions for volatile,
// which keeps their order; they name no memory, so what they read must not stay in a register.
struct Tiles {
  Tiles() {
    const Palette palette;
    _tile_loadconfig(palette.bytes);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

struct Factors {
  const char* rows;  // staged: [plane][row][32] bfloat16, 64-byte aligned
  std::int64_t plane_bytes;
  std::int64_t row_bytes, tap_bytes;  // from row to row of the result, from tap to tap
  int planes, taps;
  const char* weights;  // cpu/conv_pack.h

  std::int64_t block_bytes() const { return std::int64_t{planes} * taps * kStepBytes; }
};

// Runs finish(sums of a row, row, block) for the rows of the last block, a few at each step.
template <class Finish>
class Epilogue {
 public:
  Epilogue(float* buffers, const Finish& finish) : buffers_(buffers), finish_(finish) {}

  float* next() { return buffers_ + phase_ * kBlockFloats; }

  // The sums in next() are complete; `rows` of them exist.
  void push(int row, int rows, int block) {
    pending_ = next();
    phase_ ^= 1;
    row_ = row;
    rows_ = rows;
    block_ = block;
    done_ = 0;
  }
  void step(int count) {
    for (; count > 0 && done_ < rows_; --count, ++done_) {
      finish_(pending_ + done_ * cpu::kBlock, row_ + done_, block_);
    }
  }
  void flush() { step(kRows); }

 private:
  float* buffers_;
  const Finish& finish_;
  const float* pending_ = nullptr;
  int phase_ = 0, row_ = 0, rows_ = 0, block_ = 0, done_ = 0;
};

[[gnu::always_inline]] inline void load_sums(const float* from) {
  _tile_loadd(0, from, 128);
  _tile_loadd(1, from + 16, 128);
  _tile_loadd(2, from + 16 * cpu::kBlock, 128);
  _tile_loadd(3, from + 16 * cpu::kBlock + 16, 128);
}

[[gnu::always_inline]] inline void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

[[gnu::always_inline]] inline void store_sums(float* to) {
  _tile_stored(0, to, 128);
  _tile_stored(1, to + 16, 128);
  _tile_stored(2, to + 16 * cpu::kBlock, 128);
  _tile_stored(3, to + 16 * cpu::kBlock + 16, 128);
}

// Where the weights of accumulate() come from: L1; L2, in which case they shall not push the rows
// out of L1; or memory, in which case those kAheadBytes bytes further on are fetched into L2.
enum class From { kL1, kL2, kMemory };
constexpr int kAheadBytes = 14 * kStepBytes;

// Adds the products of planes [plane, end) to the sums in the tiles.
template <From kFrom, class E>
inline void accumulate(const Factors& f, int row, int plane, int end, const char* w, int per_step,
                       E& epilogue) {
  for (; plane < end; ++plane) {
    const char* a = f.rows + plane * f.plane_bytes + row * f.row_bytes;
    for (int tap = 0; tap < f.taps; ++tap, a += f.tap_bytes, w += kStepBytes) {
      _tile_loadd(4, a, f.row_bytes);
      if constexpr (kFrom == From::kMemory) {
#pragma GCC unroll 32
        for (int line = 0; line < kStepBytes; line += 64) {
          _mm_prefetch(w + kAheadBytes + line, _MM_HINT_T1);
        }
      }
      if constexpr (kFrom == From::kL2) {
        _tile_stream_loadd(6, w, 64);
        _tile_stream_loadd(7, w + kStepBytes / 2, 64);
      } else {
        _tile_loadd(6, w, 64);
        _tile_loadd(7, w + kStepBytes / 2, 64);
      }
      _tile_loadd(5, a + 16 * f.row_bytes, f.row_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      epilogue.step(per_step);
    }
  }
}

inline int least(int a, int b) { return a < b ? a : b; }

// For 32 rows, all blocks of columns, each over all planes: where all weights fit in L2, or where
// 32 rows are all there are.
template <From kFrom, class Finish>
void multiply_by_rows(const Factors& f, const cpu::Part& part, float* buffers,
                      const Finish& finish) {
  Epilogue<Finish> epilogue(buffers, finish);
  const int per_step = (kRows + f.planes * f.taps - 1) / (f.planes * f.taps);
  for (int row = 0; row < part.rows; row += kRows) {
    for (int block = part.block; block < part.block + part.blocks; ++block) {
      zero_sums();
      accumulate<kFrom>(f, row, 0, f.planes, f.weights + block * f.block_bytes(), per_step,
                        epilogue);
      epilogue.flush();
      store_sums(epilogue.next());
      epilogue.push(row, least(kRows, part.rows - row), block);
    }
  }
  epilogue.flush();
}

// Larger weights: a few planes of a block of columns stay in L1 while all rows pass by; the sums
// wait in `sums`, kBlockFloats for every 32 rows.
template <class Finish>
void multiply_by_weights(const Factors& f, const cpu::Part& part, float* buffers, float* sums,
                         const Finish& finish) {
  constexpr int kSteps = 14;  // 28 KB of weights
  Epilogue<Finish> epilogue(buffers, finish);
  const int chunk = f.taps >= kSteps ? 1 : (kSteps + f.taps - 1) / f.taps;
  const int per_step = (kRows + chunk * f.taps - 1) / (chunk * f.taps);
  for (int block = part.block; block < part.block + part.blocks; ++block) {
    for (int plane = 0; plane < f.planes; plane += chunk) {
      const int end = least(plane + chunk, f.planes);
      const char* w =
          f.weights + block * f.block_bytes() + std::int64_t{plane} * f.taps * kStepBytes;
      for (int row = 0; row < part.rows; row += kRows) {
        float* kept = sums + row / kRows * kBlockFloats;
        plane == 0 ? zero_sums() : load_sums(kept);
        if (row == 0) {
          accumulate<From::kMemory>(f, row, plane, end, w, per_step, epilogue);
        } else {
          accumulate<From::kL1>(f, row, plane, end, w, per_step, epilogue);
        }
        if (end < f.planes) {
          store_sums(kept);
          continue;
        }
        epilogue.flush();
        store_sums(epilogue.next());
        epilogue.push(row, least(kRows, part.rows - row), block);
      }
    }
  }
  epilogue.flush();
}

}  // namespace
}  // namespace vivace::amx
