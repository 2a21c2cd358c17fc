// SPDX-License-Identifier: Apache-2.0
// Kernels without a mistake, in the shapes that real ones have. Right in every schedule, and silent
// under every check.
#include "cases.hpp"

namespace vivace {

// ---- block reduction: shuffles, static shared memory, one barrier; grid-stride over a ragged row

__global__ void row_sum_kernel(float* y, const float* x, int columns) {
  __shared__ float partial[32];
  const float* row = x + static_cast<std::int64_t>(blockIdx.x) * columns;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += row[i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0f;
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(~0u, sum, offset);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
  }
}

CASE(row_sum) {
  launch(row_sum_kernel, dim3(args[0]), dim3(args[2]), 0, kStream, args.as<float>(0),
         args.as<float>(1), args[1]);
}

// ---- transpose through a tile; threads outside the matrix stay for the barrier -----------------

__global__ void transpose_kernel(float* y, const float* x, int rows, int columns) {
  __shared__ float tile[32][33];
  const int x_column = blockIdx.x * 32 + threadIdx.x;
  for (int r = threadIdx.y; r < 32; r += blockDim.y) {
    const int row = blockIdx.y * 32 + r;
    if (row < rows && x_column < columns) tile[r][threadIdx.x] = x[row * columns + x_column];
  }
  __syncthreads();
  const int y_column = blockIdx.y * 32 + threadIdx.x;
  for (int r = threadIdx.y; r < 32; r += blockDim.y) {
    const int row = blockIdx.x * 32 + r;
    if (row < columns && y_column < rows) y[row * rows + y_column] = tile[threadIdx.x][r];
  }
}

CASE(transpose) {
  const dim3 grid((args[1] + 31) / 32, (args[0] + 31) / 32);
  launch(transpose_kernel, grid, dim3(32, 8), 0, kStream, args.as<float>(0), args.as<float>(1),
         args[0], args[1]);
}

// ---- inclusive scan of each 64-element row: warp scans, then the first warp's total ------------

__global__ void scan_kernel(int* y, const int* x) {
  __shared__ int total;
  const int i = blockIdx.x * 64 + threadIdx.x;
  int sum = x[i];
  for (int delta = 1; delta < 32; delta *= 2) {
    const int before = __shfl_up_sync(~0u, sum, delta);
    if (threadIdx.x % 32 >= static_cast<unsigned>(delta)) sum += before;
  }
  if (threadIdx.x == 31) total = sum;
  __syncthreads();
  y[i] = threadIdx.x < 32 ? sum : sum + total;
}

CASE(scan) {
  launch(scan_kernel, dim3(args[0]), dim3(64), 0, kStream, args.as<int>(0), args.as<int>(1));
}

// ---- warps that do different numbers of shuffles, and half warps with masks of their own -------

__global__ void uneven_kernel(int* y) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  int sum = threadIdx.x;
  for (int repeat = 0; repeat <= warp; ++repeat) {
    int turn = sum;
    for (int mask = 16; mask > 0; mask /= 2) turn += __shfl_xor_sync(~0u, turn, mask);
    if (repeat == warp) sum = turn;
  }
  if (lane < 16) {
    sum += __shfl_sync(0x0000ffffu, lane, 3, 16);
    sum += __shfl_xor_sync(0x0000ffffu, lane, 1, 16);
  } else {
    sum += __shfl_sync(0xffff0000u, lane, 3, 16);
  }
  y[threadIdx.x] = sum;
}

CASE(uneven) { launch(uneven_kernel, dim3(1), dim3(128), 0, kStream, args.as<int>(0)); }

// ---- stream compaction: votes, shared atomics, threads that leave before the end ---------------

__global__ void compact_kernel(int* y, int* count, const int* x, int n) {
  __shared__ int used;
  if (threadIdx.x == 0) used = 0;
  __syncthreads();
  for (int begin = 0; begin < n; begin += blockDim.x) {
    const int i = begin + threadIdx.x;
    const bool keep = i < n && x[i] % 3 == 0;
    const unsigned kept = __ballot_sync(~0u, keep);
    int base = 0;
    if (threadIdx.x % 32 == 0 && kept) base = atomicAdd(&used, __popc(kept));
    base = __shfl_sync(~0u, base, 0);
    if (keep) y[base + __popc(kept & ((1u << threadIdx.x % 32) - 1))] = x[i];
  }
  if (threadIdx.x >= 32) return;
  __syncthreads();  // of those that are left; the others have exited
  if (threadIdx.x == 0) *count = atomicAdd(&used, 0);
}

CASE(compact) {
  launch(compact_kernel, dim3(1), dim3(96), 0, kStream, args.as<int>(0), args.as<int>(1),
         args.as<int>(2), args[0]);
}

// ---- the last block to finish adds up all blocks' sums, in their order -------------------------

__global__ void ticket_sum_kernel(float* y, float* partial, unsigned* ticket, const float* x,
                                  int n) {
  __shared__ bool last;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = i < n ? x[i] : 0.0f;
  for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(~0u, sum, mask);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float total = 0.0f;
    for (unsigned b = 0; b < gridDim.x; ++b) total += partial[b];
    *y = total;
  }
}

CASE(ticket_sum) {
  launch(ticket_sum_kernel, dim3((args[0] + 31) / 32), dim3(32), 0, kStream, args.as<float>(0),
         args.as<float>(1), args.as<unsigned>(2), args.as<float>(3), args[0]);
}

// The same with the fence by every thread, before the barrier.
__global__ void fence_all_kernel(float* y, float* copy, unsigned* ticket, const float* x) {
  __shared__ bool last;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  copy[i] = 2.0f * x[i];
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(ticket, 1) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  const int n = gridDim.x * blockDim.x;
  for (int j = threadIdx.x; j < n; j += blockDim.x) y[j] = copy[n - 1 - j];
}

CASE(fence_all) {
  launch(fence_all_kernel, dim3(args[0]), dim3(64), 0, kStream, args.as<float>(0),
         args.as<float>(1), args.as<unsigned>(2), args.as<float>(3));
}

// ---- lanes that exchange through shared memory with __syncwarp, warps independent of each other

__global__ void warp_exchange_kernel(float* y, const float* x) {
  DYNAMIC_SHARED(float, slots);
  const int lane = threadIdx.x % 32;
  float* mine = slots + threadIdx.x / 32 * 32;
  float value = x[threadIdx.x];
  for (int step = 0; step < 3; ++step) {
    mine[lane] = value;
    __syncwarp();
    value = mine[(lane + 5) % 32];
    __syncwarp();
  }
  y[threadIdx.x] = value;
}

CASE(warp_exchange) {
  launch(warp_exchange_kernel, dim3(1), dim3(128), 128 * sizeof(float), kStream, args.as<float>(0),
         args.as<float>(1));
}

}  // namespace vivace
