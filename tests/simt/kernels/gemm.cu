// SPDX-License-Identifier: Apache-2.0
// y = a b^T on tensor cores, as the convolution kernels will do it: cp.async into a ring of stages
// with zero fill at the ragged ends, ldmatrix, mma.sync. a: (rows, depth), b: (columns, depth),
// depth % 8 == 0.
#include "cases.hpp"

namespace vivace {

constexpr int kRows = 32;            // of a tile; two warps, one above the other
constexpr int kColumns = 16;         // of a tile
constexpr int kDepth = 32;           // of a stage
constexpr int kStride = kDepth + 8;  // keeps the rows of an ldmatrix in different banks
constexpr int kStages = 3;

__device__ inline void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                __half) {
  ptx::mma_f16(d, a, b);
}
__device__ inline void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                __nv_bfloat16) {
  ptx::mma_bf16(d, a, b);
}

template <class T>
__global__ void __launch_bounds__(64)
    gemm_kernel(float* y, const T* a, const T* b, int rows, int columns, int depth) {
  DYNAMIC_SHARED(T, ring);  // kStages x (kRows + kColumns) x kStride
  constexpr int kStage = (kRows + kColumns) * kStride;
  const int row0 = blockIdx.y * kRows;
  const int column0 = blockIdx.x * kColumns;
  const int steps = (depth + kDepth - 1) / kDepth;

  const auto fetch = [&](int step) {
    if (step < steps) {
      T* stage = ring + step % kStages * kStage;
      for (int piece = threadIdx.x; piece < (kRows + kColumns) * (kDepth / 8); piece += 64) {
        const int r = piece / (kDepth / 8);
        const int k = step * kDepth + piece % (kDepth / 8) * 8;
        const bool of_a = r < kRows;
        const int row = of_a ? row0 + r : column0 + r - kRows;
        const bool in = k < depth && row < (of_a ? rows : columns);
        const T* source = (of_a ? a : b) + (in ? static_cast<std::int64_t>(row) * depth + k : 0);
        ptx::cp_async16(stage + r * kStride + piece % (kDepth / 8) * 8, source, in);
      }
    }
    ptx::cp_async_commit();  // an empty group too: the wait below counts groups
  };

  for (int step = 0; step < kStages - 1; ++step) fetch(step);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  float d[2][4] = {};
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();
    fetch(step + kStages - 1);  // into the stage that was read before the barrier
    const T* stage = ring + step % kStages * kStage;
    for (int k = 0; k < kDepth; k += 16) {
      unsigned fa[4];
      unsigned fb[4];
      ptx::ldmatrix_x4(fa, stage + (warp * 16 + lane % 16) * kStride + k + lane / 16 * 8);
      ptx::ldmatrix_x4(fb,
                       stage + (kRows + lane % 8 + lane / 16 * 8) * kStride + k + lane / 8 % 2 * 8);
      for (int n = 0; n < 2; ++n) multiply(d[n], fa, {fb[2 * n], fb[2 * n + 1]}, T());
    }
  }
  ptx::cp_async_wait_all();
  for (int n = 0; n < 2; ++n) {
    for (int i = 0; i < 4; ++i) {
      const int row = row0 + warp * 16 + lane / 4 + i / 2 * 8;
      const int column = column0 + n * 8 + lane % 4 * 2 + i % 2;
      if (row < rows && column < columns) y[row * columns + column] = d[n][i];
    }
  }
}

template <class T>
void gemm(const Arguments& args) {
  const dim3 grid((args[1] + kColumns - 1) / kColumns, (args[0] + kRows - 1) / kRows);
  constexpr std::size_t kBytes = kStages * (kRows + kColumns) * kStride * sizeof(T);
  launch(gemm_kernel<T>, grid, dim3(64), kBytes, kStream, args.as<float>(0), args.as<T>(1),
         args.as<T>(2), args[0], args[1], args[2]);
}

CASE(gemm_f16) { gemm<__half>(args); }
CASE(gemm_bf16) { gemm<__nv_bfloat16>(args); }

// tf32, operands straight from global memory: one warp, one 16 x 8 tile of y.
__global__ void gemm_tf32_kernel(float* y, const float* a, const float* b, int depth) {
  const int g = threadIdx.x / 4;
  const int t = threadIdx.x % 4;
  float d[4] = {};
  for (int k = 0; k < depth; k += 8) {
    unsigned fa[4];
    unsigned fb[2];
    for (int i = 0; i < 4; ++i) {
      fa[i] = ptx::to_tf32(a[(g + i % 2 * 8) * depth + k + t + i / 2 * 4]);
    }
    for (int i = 0; i < 2; ++i) fb[i] = ptx::to_tf32(b[g * depth + k + t + i * 4]);
    ptx::mma_tf32(d, fa, fb);
  }
  for (int i = 0; i < 4; ++i) y[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

CASE(gemm_tf32) {
  launch(gemm_tf32_kernel, dim3(1), dim3(32), 0, kStream, args.as<float>(0), args.as<float>(1),
         args.as<float>(2), args[0]);
}

}  // namespace vivace
