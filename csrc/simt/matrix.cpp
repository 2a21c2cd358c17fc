// SPDX-License-Identifier: Apache-2.0
// ldmatrix and mma.sync. With g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix Fragments for mma"):
//   D, m16n8:      d0 d1 at (g, 2t) (g, 2t+1);  d2 d3 at (g+8, same)
//   A, m16k16:     a0 (g, 2t..) a1 (g+8, 2t..) a2 (g, 2t+8..) a3 (g+8, 2t+8..), two elements each
//   B, k16n8:      b0 (2t.., g) b1 (2t+8.., g), two elements each
//   A, m16k8 tf32: a0 (g, t) a1 (g+8, t) a2 (g, t+4) a3 (g+8, t+4);   B: b0 (t, g) b1 (t+4, g)
#include <cuda_fp16.h>

#include <cstring>

#include "simt/engine.hpp"
#include "simt/ptx.hpp"
#include "simt/race.hpp"

namespace simt {
namespace {

float from_bits(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

float bf16(unsigned short bits) { return from_bits(unsigned{bits} << 16); }

float f16(unsigned short bits) { return __half2float(__half(__half_raw{bits})); }

struct Fragments {
  float a[16][16];
  float b[16][8];
};

// d += a b over K columns; sums in float32, in the order of k. A tensor core adds in another order
// and with other roundings: compare with a tolerance, never bit for bit.
template <int kK>
void multiply(const Fragments& f, void* const* out) {
  float d[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const float* mine = static_cast<const float*>(out[lane]);
    for (int i = 0; i < 4; ++i) d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = mine[i];
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kK; ++k) {
      for (int n = 0; n < 8; ++n) d[row][n] += f.a[row][k] * f.b[k][n];
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    float* mine = static_cast<float*>(out[lane]);
    for (int i = 0; i < 4; ++i) mine[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

template <float (*kConvert)(unsigned short)>
void mma_16bit(const void* const* in, void* const* out) {
  Fragments f;
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto& mine = *static_cast<const MmaIn*>(in[lane]);
    const int g = lane / 4;
    const int t = lane % 4;
    for (int half = 0; half < 2; ++half) {
      const auto element = [half](unsigned word) {
        return kConvert(static_cast<unsigned short>(word >> (16 * half)));
      };
      for (int i = 0; i < 4; ++i) {
        f.a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = element(mine.a[i]);
      }
      for (int i = 0; i < 2; ++i) f.b[2 * t + i * 8 + half][g] = element(mine.b[i]);
    }
  }
  multiply<16>(f, out);
}

}  // namespace

void compute_mma_bf16(const void* const* in, void* const* out, std::uint32_t, Where) {
  mma_16bit<bf16>(in, out);
}

void compute_mma_f16(const void* const* in, void* const* out, std::uint32_t, Where) {
  mma_16bit<f16>(in, out);
}

void compute_mma_tf32(const void* const* in, void* const* out, std::uint32_t, Where) {
  // The unit reads 19 bits of each operand; the low 13 bits of the word are dropped.
  const auto element = [](unsigned word) { return from_bits(word & 0xffffe000u); };
  Fragments f;
  for (int lane = 0; lane < kWarp; ++lane) {
    const auto& mine = *static_cast<const MmaIn*>(in[lane]);
    const int g = lane / 4;
    const int t = lane % 4;
    for (int i = 0; i < 4; ++i) f.a[g + i % 2 * 8][t + i / 2 * 4] = element(mine.a[i]);
    for (int i = 0; i < 2; ++i) f.b[t + i * 4][g] = element(mine.b[i]);
  }
  multiply<8>(f, out);
}

// Lanes 8m .. 8m+7 bring the rows of matrix m. Lane l receives, of each 8x8 matrix of 16-bit
// elements, (l/4, 2(l%4)) and the element right of it; transposed, (2(l%4), l/4) and the element
// below.
void compute_ldmatrix(const void* const* in, void* const* out, std::uint32_t, Where where) {
  const auto& shape = *static_cast<const MatrixIn*>(in[0]);
  for (int m = 0; m < shape.matrices; ++m) {
    std::uint16_t matrix[8][8];
    for (int row = 0; row < 8; ++row) {
      const int lane = 8 * m + row;
      const void* address = static_cast<const MatrixIn*>(in[lane])->row;
      require_shared("ldmatrix", address, 16, where);
      if constexpr (race::kOn) {
        Thread& reader = lane_of(engine.warp[self().warp()], lane);
        race::access(reader, address, 16, Access::kRead, {where, nullptr});
      }
      std::memcpy(matrix[row], address, 16);
    }
    for (int lane = 0; lane < kWarp; ++lane) {
      const int i = lane / 4;
      const int j = lane % 4 * 2;
      const unsigned low = shape.transposed ? matrix[j][i] : matrix[i][j];
      const unsigned high = shape.transposed ? matrix[j + 1][i] : matrix[i][j + 1];
      static_cast<unsigned*>(out[lane])[m] = low | high << 16;
    }
  }
}

}  // namespace simt
