// SPDX-License-Identifier: Apache-2.0
// Reductions over the lanes of a warp and the threads of a block. Their order is fixed: the same
// numbers give the same bits, on every GPU and whatever else is reduced beside them.
#pragma once

#include "core/gpu.cuh"

namespace vivace {

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}

// kCount sums over the warp, a power of two up to 32: lane l returns that of values[l * kCount /
// 32]. Half of the values are given away at each exchange, so it takes kCount + 4 of them at most,
// where warp_sum would take 5 * kCount. Each sum has the order of additions of warp_sum.
template <int kCount>
__device__ inline float warp_sums(float (&values)[kCount]) {
  static_assert(kCount <= 32 && (kCount & (kCount - 1)) == 0, "a power of two up to 32");
  const int lane = threadIdx.x % 32;
  int kept = kCount;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    if (kept == 1) {
      values[0] += __shfl_xor_sync(kAllLanes, values[0], offset);
      continue;
    }
    kept /= 2;
    const bool upper = (lane & offset) != 0;
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
      if (i >= kept) break;
      const float given = upper ? values[i] : values[i + kept];
      const float own = upper ? values[i + kept] : values[i];
      values[i] = own + __shfl_xor_sync(kAllLanes, given, offset);
    }
  }
  return values[0];
}

// kCount sums over a block of kThreads, for every thread. `shared` holds kThreads / 32 * kCount
// floats that nobody else uses until a barrier behind this.
template <int kThreads, int kCount>
__device__ inline void block_sums(float (&values)[kCount], float* shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float sum = warp_sums(values);
  if (lane % (32 / kCount) == 0) shared[warp * kCount + lane / (32 / kCount)] = sum;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    values[i] = 0.0f;
#pragma unroll
    for (int w = 0; w < kThreads / 32; ++w) values[i] += shared[w * kCount + i];
  }
}

}  // namespace vivace
