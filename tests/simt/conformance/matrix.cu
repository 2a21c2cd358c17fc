// SPDX-License-Identifier: Apache-2.0
// ldmatrix, mma, tf32 rounding, cp.async, load_once: one warp each.
#include "conformance.hpp"

namespace conformance {
namespace {

namespace ptx = vivace::ptx;

// in: 32 rows of 16 bytes; lane l passes row (5l + 3) % 32. out: [lane][register].
template <int kMatrices, bool kTransposed>
__global__ void ldmatrix_kernel(unsigned* out, const unsigned* in) {
  __shared__ __align__(16) unsigned rows[128];
  for (int i = threadIdx.x; i < 128; i += 32) rows[i] = in[i];
  __syncwarp();
  const unsigned* row = rows + (5 * threadIdx.x + 3) % 32 * 4;
  unsigned r[kMatrices];
  if constexpr (kMatrices == 1) {
    kTransposed ? ptx::ldmatrix_x1_trans(r, row) : ptx::ldmatrix_x1(r, row);
  } else if constexpr (kMatrices == 2) {
    kTransposed ? ptx::ldmatrix_x2_trans(r, row) : ptx::ldmatrix_x2(r, row);
  } else {
    kTransposed ? ptx::ldmatrix_x4_trans(r, row) : ptx::ldmatrix_x4(r, row);
  }
  for (int i = 0; i < kMatrices; ++i) out[threadIdx.x * kMatrices + i] = r[i];
}

Case ldmatrix_x1("ldmatrix_x1", ldmatrix_kernel<1, false>, 32, words(128, 1), 32);
Case ldmatrix_x2("ldmatrix_x2", ldmatrix_kernel<2, false>, 32, words(128, 2), 64);
Case ldmatrix_x4("ldmatrix_x4", ldmatrix_kernel<4, false>, 32, words(128, 3), 128);
Case ldmatrix_x1_trans("ldmatrix_x1_trans", ldmatrix_kernel<1, true>, 32, words(128, 4), 32);
Case ldmatrix_x2_trans("ldmatrix_x2_trans", ldmatrix_kernel<2, true>, 32, words(128, 5), 64);
Case ldmatrix_x4_trans("ldmatrix_x4_trans", ldmatrix_kernel<4, true>, 32, words(128, 6), 128);

// in: float32 a (16 x k), b (8 x k), d (16 x 8), all row-major; the kernel rounds a and b to the
// operand type and lays the fragments out. out: d + a b^T.
template <class T>
__device__ unsigned pair(const float* p) {
  const T two[2] = {T(p[0]), T(p[1])};
  unsigned word;
  memcpy(&word, two, 4);
  return word;
}

template <class T>
__global__ void mma_kernel(unsigned* out, const unsigned* in) {
  constexpr int k = sizeof(T) == 4 ? 8 : 16;
  const float* a = reinterpret_cast<const float*>(in);
  const float* b = a + 16 * k;
  const float* c = b + 8 * k;
  const int g = threadIdx.x / 4;
  const int t = threadIdx.x % 4;
  unsigned fa[4];
  unsigned fb[2];
  for (int i = 0; i < 4; ++i) {
    const float* row = a + (g + i % 2 * 8) * k + i / 2 * (k / 2);
    if constexpr (k == 8) {
      fa[i] = ptx::to_tf32(row[t]);
    } else {
      fa[i] = pair<T>(row + 2 * t);
    }
  }
  for (int i = 0; i < 2; ++i) {
    const float* row = b + g * k + i * (k / 2);
    if constexpr (k == 8) {
      fb[i] = ptx::to_tf32(row[t]);
    } else {
      fb[i] = pair<T>(row + 2 * t);
    }
  }
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  if constexpr (k == 8) {
    ptx::mma_tf32(d, fa, fb);
  } else if constexpr (std::is_same_v<T, __half>) {
    ptx::mma_f16(d, fa, fb);
  } else {
    ptx::mma_bf16(d, fa, fb);
  }
  for (int i = 0; i < 4; ++i) {
    out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = __float_as_uint(d[i]);
  }
}

Case mma_f16("mma_f16", mma_kernel<__half>, 32, uniform(512, -4.0f, 4.0f, 7), 128);
Case mma_bf16("mma_bf16", mma_kernel<__nv_bfloat16>, 32, uniform(512, -4.0f, 4.0f, 8), 128);
Case mma_tf32("mma_tf32", mma_kernel<float>, 32, uniform(320, -4.0f, 4.0f, 9), 128);

// Words that were not rounded: the unit drops their low 13 bits.
__global__ void mma_tf32_raw_kernel(unsigned* out, const unsigned* in) {
  const int lane = threadIdx.x;
  unsigned a[4];
  for (int i = 0; i < 4; ++i) a[i] = in[4 * lane + i];
  const unsigned b[2] = {in[128 + 2 * lane], in[128 + 2 * lane + 1]};
  float d[4] = {};
  ptx::mma_tf32(d, a, b);
  for (int i = 0; i < 4; ++i) out[4 * lane + i] = __float_as_uint(d[i]);
}
Case mma_tf32_raw("mma_tf32_raw", mma_tf32_raw_kernel, 32, uniform(192, 1.0f, 2.0f, 10), 128);

__global__ void to_tf32_kernel(unsigned* out, const unsigned* in) {
  for (int i = threadIdx.x; i < 288; i += 32) out[i] = ptx::to_tf32(__uint_as_float(in[i]));
}
Case to_tf32("to_tf32", to_tf32_kernel, 32, concatenate(special(), exponents(256, -100, 100, 11)),
             288);

// Odd lanes copy nothing and get zeros; the words between the pieces keep what they had.
template <int kBytes>
__global__ void cp_async_kernel(unsigned* out, const unsigned* in) {
  __shared__ __align__(16) unsigned tile[256];
  for (int i = threadIdx.x; i < 256; i += 32) tile[i] = 0xabcd0000u + i;
  __syncwarp();
  unsigned* dst = tile + 8 * threadIdx.x;
  const unsigned* src = in + 8 * (31 - threadIdx.x);
  const bool even = threadIdx.x % 2 == 0;
  if constexpr (kBytes == 4) ptx::cp_async4(dst, src, even);
  if constexpr (kBytes == 8) ptx::cp_async8(dst, src, even);
  if constexpr (kBytes == 16) ptx::cp_async16(dst, src, even);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncwarp();
  for (int i = threadIdx.x; i < 256; i += 32) out[i] = tile[i];
}
Case cp_async4("cp_async4", cp_async_kernel<4>, 32, words(256, 12), 256);
Case cp_async8("cp_async8", cp_async_kernel<8>, 32, words(256, 13), 256);
Case cp_async16("cp_async16", cp_async_kernel<16>, 32, words(256, 14), 256);

__global__ void load_once_kernel(unsigned* out, const unsigned* in) {
  const uint4 v = ptx::load_once(in + 4 * threadIdx.x);
  out[threadIdx.x] = v.x;
  out[32 + threadIdx.x] = v.y;
  out[64 + threadIdx.x] = v.z;
  out[96 + threadIdx.x] = v.w;
}
Case load_once("load_once", load_once_kernel, 32, words(128, 15), 128);

}  // namespace
}  // namespace conformance
