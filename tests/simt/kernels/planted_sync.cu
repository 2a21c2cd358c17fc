// SPDX-License-Identifier: Apache-2.0
// Mistakes in synchronisation, each beside its repair. The tests look the marked lines up: a report
// must name them.
#include "cases.hpp"

namespace vivace {

// ---- partial sums of warps, combined without a barrier -----------------------------------------

template <bool kBarrier>
__global__ void combine_kernel(float* y, const float* x) {
  __shared__ float partial[4];
  float sum = x[threadIdx.x];
  for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(~0u, sum, mask);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;  // MARK combine write
  if (kBarrier) __syncthreads();
  const float total = partial[0] + partial[1] + partial[2] + partial[3];  // MARK combine read
  y[threadIdx.x] = total;
}
CASE(combine_bug) {
  launch(combine_kernel<false>, dim3(1), dim3(128), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}
CASE(combine_fixed) {
  launch(combine_kernel<true>, dim3(1), dim3(128), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}

// ---- a loop that overwrites shared memory which others still read ------------------------------

template <bool kBarrier>
__global__ void reuse_kernel(float* y, const float* x, int steps) {
  __shared__ float slots[64];
  float sum = 0.0f;
  for (int step = 0; step < steps; ++step) {
    slots[threadIdx.x] = x[64 * step + threadIdx.x];  // MARK reuse write
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int i = 0; i < 64; ++i) sum += slots[i];  // MARK reuse read
    }
    if (kBarrier) __syncthreads();
  }
  if (threadIdx.x == 0) *y = sum;
}
CASE(reuse_bug) {
  launch(reuse_kernel<false>, dim3(1), dim3(64), 0, kStream, args.as<float>(0), args.as<float>(1),
         args[0]);
}
CASE(reuse_fixed) {
  launch(reuse_kernel<true>, dim3(1), dim3(64), 0, kStream, args.as<float>(0), args.as<float>(1),
         args[0]);
}

// ---- lanes of a warp that rely on lock step ----------------------------------------------------

template <bool kSync>
__global__ void lock_step_kernel(float* y, const float* x) {
  __shared__ float slots[32];
  slots[threadIdx.x] = x[threadIdx.x];  // MARK lock step write
  if (kSync) __syncwarp();
  y[threadIdx.x] = slots[31 - threadIdx.x];  // MARK lock step read
}
CASE(lock_step_bug) {
  launch(lock_step_kernel<false>, dim3(1), dim3(32), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}
CASE(lock_step_fixed) {
  launch(lock_step_kernel<true>, dim3(1), dim3(32), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}

// A shuffle makes the lanes meet, but orders no memory.
__global__ void shuffle_order_kernel(float* y, const float* x) {
  __shared__ float slots[32];
  slots[threadIdx.x] = x[threadIdx.x];  // MARK shuffle order write
  const int partner = __shfl_xor_sync(~0u, static_cast<int>(threadIdx.x), 1);
  y[threadIdx.x] = slots[partner];  // MARK shuffle order read
}
CASE(shuffle_order_bug) {
  launch(shuffle_order_kernel, dim3(1), dim3(32), 0, kStream, args.as<float>(0), args.as<float>(1));
}

// __syncwarp of half a warp does not order the other half.
template <bool kWhole>
__global__ void half_sync_kernel(float* y, const float* x) {
  __shared__ float slots[32];
  slots[threadIdx.x] = x[threadIdx.x];  // MARK half sync write
  const unsigned half = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
  __syncwarp(kWhole ? ~0u : half);
  y[threadIdx.x] = slots[31 - threadIdx.x];  // MARK half sync read
}
CASE(half_sync_bug) {
  launch(half_sync_kernel<false>, dim3(1), dim3(32), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}
CASE(half_sync_fixed) {
  launch(half_sync_kernel<true>, dim3(1), dim3(32), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}

// Eight warps read a value, then one lane of the last warp overwrites it.
template <bool kBarrier>
__global__ void broadcast_kernel(float* y, const float* x) {
  __shared__ float value;
  if (threadIdx.x == 0) value = x[0];
  __syncthreads();
  float mine = value;  // MARK broadcast read
  kBarrier ? __syncthreads() : __syncwarp();
  if (threadIdx.x == 255) value = 2.0f * mine;  // MARK broadcast write
  __syncthreads();
  y[threadIdx.x] = mine + value;
}
CASE(broadcast_bug) {
  launch(broadcast_kernel<false>, dim3(1), dim3(256), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}
CASE(broadcast_fixed) {
  launch(broadcast_kernel<true>, dim3(1), dim3(256), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}

// ---- collectives that cannot complete ----------------------------------------------------------

__global__ void two_barriers_kernel() {
  if (threadIdx.x < 40) {
    __syncthreads();  // MARK barrier one
  } else {
    __syncthreads();  // MARK barrier two
  }
}
CASE(two_barriers) { launch(two_barriers_kernel, dim3(1), dim3(64), 0, kStream); }

__global__ void divergent_barrier_kernel() {
  if (threadIdx.x < 8) __syncthreads();  // MARK divergent barrier
  __shfl_sync(~0u, 1, 0);                // MARK divergent shuffle
}
CASE(divergent_barrier) { launch(divergent_barrier_kernel, dim3(1), dim3(32), 0, kStream); }

__global__ void half_shuffle_kernel(int* y) {
  int value = threadIdx.x;
  if (threadIdx.x < 16) value = __shfl_down_sync(~0u, value, 1);  // MARK half shuffle
  y[threadIdx.x] = value;
}
CASE(half_shuffle) { launch(half_shuffle_kernel, dim3(1), dim3(32), 0, kStream, args.as<int>(0)); }

__global__ void two_lines_kernel(int* y) {
  int value = threadIdx.x;
  if (threadIdx.x < 16) {
    value = __shfl_xor_sync(~0u, value, 1);  // MARK two lines first
  } else {
    value = __shfl_xor_sync(~0u, value, 1);  // MARK two lines second
  }
  y[threadIdx.x] = value;
}
CASE(two_lines) { launch(two_lines_kernel, dim3(1), dim3(32), 0, kStream, args.as<int>(0)); }

__global__ void foreign_mask_kernel() {
  __shfl_sync(0x0000ffffu, 1, 0);  // MARK foreign mask
}
CASE(foreign_mask) { launch(foreign_mask_kernel, dim3(1), dim3(32), 0, kStream); }

__global__ void source_outside_kernel(int* y) {
  if (threadIdx.x < 16) {
    y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1, 16);  // MARK source outside
  }
}
CASE(source_outside) {
  launch(source_outside_kernel, dim3(1), dim3(32), 0, kStream, args.as<int>(0));
}

__global__ void missing_lanes_kernel() {
  __ballot_sync(~0u, 1);  // MARK missing lanes
}
CASE(missing_lanes) { launch(missing_lanes_kernel, dim3(1), dim3(24), 0, kStream); }

__global__ void exited_lanes_kernel() {
  if (threadIdx.x >= 30) return;
  __any_sync(~0u, 1);  // MARK exited lanes
}
CASE(exited_lanes) { launch(exited_lanes_kernel, dim3(1), dim3(32), 0, kStream); }

__global__ void bad_width_kernel() {
  __shfl_sync(~0u, 1, 0, 12);  // MARK bad width
}
CASE(bad_width) { launch(bad_width_kernel, dim3(1), dim3(32), 0, kStream); }

__global__ void trap_kernel(int n) {
  if (static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) == n) __trap();  // MARK trap
}
CASE(trap) { launch(trap_kernel, dim3(4), dim3(8, 4), 0, kStream, args[0]); }

__global__ void assertion_kernel(int n) {
  assert(static_cast<int>(threadIdx.x) != n);  // MARK assertion
}
CASE(assertion) { launch(assertion_kernel, dim3(1), dim3(64), 0, kStream, args[0]); }

// Nothing that a GPU can do; the engine must still give every fiber back.
__global__ void throwing_kernel(int n) {
  if (static_cast<int>(threadIdx.x) == n) throw std::runtime_error("thrown in a kernel");
  __syncthreads();
}
CASE(throwing) { launch(throwing_kernel, dim3(1), dim3(64), 0, kStream, args[0]); }

}  // namespace vivace
