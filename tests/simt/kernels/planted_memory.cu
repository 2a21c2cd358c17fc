// SPDX-License-Identifier: Apache-2.0
// Mistakes with addresses, asynchronous copies and other blocks, each beside its repair where it
// has one. The tests look the marked lines up: a report must name them.
#include "cases.hpp"

namespace vivace {

// ---- a ring of two stages filled by cp.async; each thread reads what another one has copied ----

enum class Bug { kNone, kNoWait, kWaitLate, kNoBarrier };

template <Bug kBug>
__global__ void ring_kernel(float* y, const float* x, int tiles) {
  DYNAMIC_SHARED(float, ring);  // 2 x 256
  const int i = threadIdx.x;
  const auto fetch = [&](int tile) {
    if (tile < tiles) {
      ptx::cp_async16(ring + tile % 2 * 256 + 4 * i, x + tile * 256 + 4 * i);  // MARK ring copy
    }
    ptx::cp_async_commit();
  };
  fetch(0);
  float sum = 0.0f;
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    if (kBug == Bug::kNone || kBug == Bug::kNoBarrier) ptx::cp_async_wait<1>();
    __syncthreads();
    if (kBug == Bug::kWaitLate) ptx::cp_async_wait<1>();
    for (int j = 0; j < 4; ++j) {
      sum += (1 + j) * ring[tile % 2 * 256 + 255 - 4 * i - j];  // MARK ring read
    }
    if (kBug != Bug::kNoBarrier) __syncthreads();
  }
  y[i] = sum;
}

template <Bug kBug>
void ring(const Arguments& args) {
  launch(ring_kernel<kBug>, dim3(1), dim3(64), 2 * 256 * sizeof(float), kStream, args.as<float>(0),
         args.as<float>(1), args[0]);
}
CASE(ring_fixed) { ring<Bug::kNone>(args); }
CASE(ring_no_wait) { ring<Bug::kNoWait>(args); }
CASE(ring_wait_late) { ring<Bug::kWaitLate>(args); }
CASE(ring_no_barrier) { ring<Bug::kNoBarrier>(args); }

// The tile's last row is copied one row too far: past the end of dynamic shared memory.
__global__ void copy_overflow_kernel(float* y, const float* x, int first) {
  DYNAMIC_SHARED(float, tile);
  ptx::cp_async16(tile + 4 * (first + threadIdx.x), x + 4 * threadIdx.x);  // MARK copy overflow
  ptx::cp_async_wait_all();
  y[threadIdx.x] = tile[4 * threadIdx.x];
}
CASE(copy_overflow) {
  launch(copy_overflow_kernel, dim3(1), dim3(8), 128, kStream, args.as<float>(0), args.as<float>(1),
         args[0]);
}

__global__ void copy_source_kernel(float* y, const float* x, int first) {
  DYNAMIC_SHARED(float, tile);
  ptx::cp_async16(tile + 4 * threadIdx.x, x + 4 * (first + threadIdx.x));  // MARK copy source
  ptx::cp_async_wait_all();
  y[threadIdx.x] = tile[4 * threadIdx.x];
}
CASE(copy_source) {
  launch(copy_source_kernel, dim3(1), dim3(8), 128, kStream, args.as<float>(0), args.as<float>(1),
         args[0]);
}

__global__ void copy_misaligned_kernel(const float* x) {
  DYNAMIC_SHARED(float, tile);
  ptx::cp_async16(tile + threadIdx.x, x);  // MARK copy misaligned
  ptx::cp_async_wait_all();
}
CASE(copy_misaligned) {
  launch(copy_misaligned_kernel, dim3(1), dim3(2), 128, kStream, args.as<float>(1));
}

__global__ void matrix_misaligned_kernel(float* y) {
  DYNAMIC_SHARED(__half, tile);
  for (int i = threadIdx.x; i < 512; i += 32) tile[i] = __float2half(1.0f);
  __syncwarp();
  unsigned r[4];
  ptx::ldmatrix_x4(r, tile + threadIdx.x * 12);  // MARK matrix misaligned
  y[threadIdx.x] = static_cast<float>(r[0]);
}
CASE(matrix_misaligned) {
  launch(matrix_misaligned_kernel, dim3(1), dim3(32), 1024, kStream, args.as<float>(0));
}

// ---- bounds ------------------------------------------------------------------------------------

__global__ void dynamic_overflow_kernel(int n) {
  DYNAMIC_SHARED(float, tile);
  for (int i = threadIdx.x; i < n; i += blockDim.x) tile[i] = 0.0f;  // MARK dynamic overflow
}
CASE(dynamic_overflow) {
  launch(dynamic_overflow_kernel, dim3(1), dim3(32), 128, kStream, args[0]);
}

// One row of the cache too many.
__global__ void global_overflow_kernel(float* y, const float* x, int n) {
  float sum = 0.0f;
  for (int i = threadIdx.x; i <= n; i += blockDim.x) sum += x[i];  // MARK global overflow
  y[threadIdx.x] = sum;
}
CASE(global_overflow) {
  launch(global_overflow_kernel, dim3(1), dim3(32), 0, kStream, args.as<float>(0),
         args.as<float>(1), args[0]);
}

// The vectorised path on rows that are no multiple of four.
__global__ void misaligned_kernel(float4* y, const float* x, int n) {
  const float* row = x + threadIdx.x * n;
  y[threadIdx.x] = *reinterpret_cast<const float4*>(row);  // MARK misaligned
}
CASE(misaligned) {
  launch(misaligned_kernel, dim3(1), dim3(4), 0, kStream, args.as<float4>(0), args.as<float>(1),
         args[0]);
}

__global__ void register_array_kernel(float* y, int n) {
  float r[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  y[threadIdx.x] = r[n];  // MARK register array
}
CASE(register_array) {
  launch(register_array_kernel, dim3(1), dim3(1), 0, kStream, args.as<float>(0), args[0]);
}

__global__ void static_array_kernel(float* y, int n) {
  __shared__ float a[64];
  a[threadIdx.x] = 1.0f;
  float* volatile p = a;  // so that only the red zone behind the array can know its size
  y[threadIdx.x] = p[n];  // MARK static array
}
CASE(static_array) {
  launch(static_array_kernel, dim3(1), dim3(1), 0, kStream, args.as<float>(0), args[0]);
}

__global__ void uninitialised_kernel(float* y) {
  __shared__ float a[32];
  if (threadIdx.x < 31) a[threadIdx.x] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = a[threadIdx.x];  // MARK uninitialised
}
CASE(uninitialised) {
  launch(uninitialised_kernel, dim3(1), dim3(32), 0, kStream, args.as<float>(0));
}

// ---- global memory, within a block and between blocks ------------------------------------------

template <bool kBarrier>
__global__ void global_exchange_kernel(float* y, const float* x) {
  y[threadIdx.x] = x[threadIdx.x];  // MARK global exchange write
  if (kBarrier) __syncthreads();
  y[64 + threadIdx.x] = y[63 - threadIdx.x];  // MARK global exchange read
}
CASE(global_exchange_bug) {
  launch(global_exchange_kernel<false>, dim3(1), dim3(64), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}
CASE(global_exchange_fixed) {
  launch(global_exchange_kernel<true>, dim3(1), dim3(64), 0, kStream, args.as<float>(0),
         args.as<float>(1));
}

// Blocks of 32 outputs that are `step` apart: with step 31 neighbours overlap by one element.
__global__ void overlap_kernel(float* y, int step) {
  y[blockIdx.x * step + threadIdx.x] = 1.0f;  // MARK overlap
}
CASE(overlap) { launch(overlap_kernel, dim3(3), dim3(32), 0, kStream, args.as<float>(0), args[0]); }

// In place, but each block reads its neighbour's first element.
__global__ void in_place_halo_kernel(float* x, int halo) {
  const int i = blockIdx.x * 32 + threadIdx.x;
  const float next = x[i + halo];  // MARK halo read
  __syncthreads();
  x[i] = 2.0f * next;  // MARK halo write
}
CASE(in_place_halo) {
  launch(in_place_halo_kernel, dim3(2), dim3(32), 0, kStream, args.as<float>(0), args[0]);
}

// The last block adds up what the others have written, without or with the fence before the ticket.
template <bool kFence>
__global__ void ticket_kernel(float* y, float* partial, unsigned* ticket) {
  partial[blockIdx.x] = 1.0f + blockIdx.x;  // MARK ticket write
  if (kFence) __threadfence();
  if (atomicInc(ticket, gridDim.x - 1) != gridDim.x - 1) return;
  float sum = 0.0f;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += partial[b];  // MARK ticket read
  *y = sum;
}
CASE(ticket_bug) {
  launch(ticket_kernel<false>, dim3(4), dim3(1), 0, kStream, args.as<float>(0), args.as<float>(1),
         args.as<unsigned>(2));
}
CASE(ticket_fixed) {
  launch(ticket_kernel<true>, dim3(4), dim3(1), 0, kStream, args.as<float>(0), args.as<float>(1),
         args.as<unsigned>(2));
}

// An atomic and a plain access to the same counter.
__global__ void plain_atomic_kernel(int* y) {
  __shared__ int counter;
  if (threadIdx.x == 0) counter = 0;
  __syncthreads();
  atomicAdd(&counter, 1);    // MARK plain atomic update
  y[threadIdx.x] = counter;  // MARK plain atomic read
}
CASE(plain_atomic) { launch(plain_atomic_kernel, dim3(1), dim3(32), 0, kStream, args.as<int>(0)); }

// ---- launches that no GPU accepts --------------------------------------------------------------

__global__ void empty_kernel() {}
CASE(launch_shape) {
  launch(empty_kernel, dim3(args[0], args[1], args[2]), dim3(args[3], args[4], args[5]), args[6],
         kStream);
}

}  // namespace vivace
