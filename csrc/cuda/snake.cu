// SPDX-License-Identifier: Apache-2.0
// Snake: y = x + sin²(αx) / (α + 1e-9), one α per channel.  Ziyin et al. 2020, arXiv:2006.08195.
#include "core/check.h"
#include "core/dtype.h"
#include "core/gpu.cuh"
#include "core/math.cuh"
#include "core/pack.cuh"
#include "core/tensor.h"

namespace vivace {
namespace {

constexpr int kThreads = 256;
constexpr int kPacksPerThread =
    4;  // four independent 16-byte loads in flight hide the latency of HBM

struct Rows {
  std::int64_t time;          // elements of a row
  std::int64_t channels;      // rows of one batch entry
  std::int64_t batch_stride;  // of x, in elements
  std::int64_t row_stride;    // of x, in elements
};

// One row (b, c) per blockIdx.x; the blocks of blockIdx.y stride along it (gridDim.y ends at 65535,
// a row may be hours long). Where 16-byte accesses are not aligned (ragged time, a view) the same
// elements go one by one.
template <class T>
__global__ void __launch_bounds__(kThreads)
    snake_kernel(T* y, const T* x, const float* alpha, Rows rows, bool aligned) {
  constexpr int kSize = Pack<T>::kSize;
  const std::int64_t row = blockIdx.x;  // b * channels + c
  const std::int64_t b = row / rows.channels;
  const std::int64_t c = row % rows.channels;
  const float a = alpha[c];
  const float inverse = 1.0f / (a + 1e-9f);
  const T* in = x + b * rows.batch_stride + c * rows.row_stride;
  T* out = y + row * rows.time;
  constexpr std::int64_t kPerBlock = kThreads * kPacksPerThread * kSize;
  const auto apply = [=](float value) { return fmaf(inverse, sin_squared(a * value), value); };

  for (std::int64_t begin = blockIdx.y * kPerBlock; begin < rows.time;
       begin += gridDim.y * kPerBlock) {
    if (aligned && begin + kPerBlock <= rows.time) {
      Pack<T> packs[kPacksPerThread];
#pragma unroll
      for (int i = 0; i < kPacksPerThread; ++i) {
        packs[i] = load_pack(in + begin + (i * kThreads + threadIdx.x) * kSize);
      }
#pragma unroll
      for (int i = 0; i < kPacksPerThread; ++i) {
#pragma unroll
        for (int j = 0; j < kSize; ++j) {
          packs[i].v[j] = from_float<T>(apply(to_float(packs[i].v[j])));
        }
        store_pack(out + begin + (i * kThreads + threadIdx.x) * kSize, packs[i]);
      }
    } else {
      for (std::int64_t t = begin + threadIdx.x; t < begin + kPerBlock && t < rows.time;
           t += kThreads) {
        out[t] = from_float<T>(apply(to_float(in[t])));
      }
    }
  }
}

}  // namespace

void snake(const Tensor& y, const Tensor& x, const Tensor& alpha, Stream stream) {
  check(x.ndim == 3 && same_shape(x, y), "snake: x and y must be (B, C, T) of one shape");
  check(x.dtype == y.dtype && is_float(x.dtype), "snake: x and y must share a float dtype");
  check(y.contiguous(), "snake: y must be contiguous");
  check(x.stride[2] == 1 || x.shape[2] <= 1, "snake: the rows of x must be contiguous");
  check(alpha.dtype == DType::kFloat32 && alpha.ndim == 1 && alpha.shape[0] == x.shape[1] &&
            alpha.contiguous(),
        "snake: alpha must be (C,) float32");
  if (x.numel() == 0) return;
  const Rows rows{x.shape[2], x.shape[1], x.stride[0], x.stride[1]};
  dispatch_float(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr std::int64_t kPerBlock = kThreads * kPacksPerThread * Pack<T>::kSize;
    const auto misaligned = [](std::uintptr_t value) { return value % 16 != 0; };
    const bool aligned = !misaligned(reinterpret_cast<std::uintptr_t>(x.data)) &&
                         !misaligned(reinterpret_cast<std::uintptr_t>(y.data)) &&
                         !misaligned(rows.time * sizeof(T)) &&
                         !misaligned(rows.batch_stride * sizeof(T)) &&
                         !misaligned(rows.row_stride * sizeof(T));
    const std::int64_t blocks = (rows.time + kPerBlock - 1) / kPerBlock;
    const dim3 grid(static_cast<unsigned>(x.shape[0] * x.shape[1]),
                    static_cast<unsigned>(blocks < 65535 ? blocks : 65535));
    launch(snake_kernel<T>, grid, dim3(kThreads), 0, stream, y.as<T>(), x.as<T>(),
           alpha.as<float>(), rows, aligned);
  });
}

}  // namespace vivace
