// SPDX-License-Identifier: Apache-2.0
// Residual vector quantisation, decoding: y[b, t] = Σ_n table[n, codes[b, t, n]], summed in float32
// in the order of the codebooks and rounded once.
#include "core/check.h"
#include "core/dtype.h"
#include "core/gpu.cuh"
#include "core/pack.cuh"
#include "core/tensor.h"

namespace vivace {
namespace {

constexpr int kThreads = 128;  // 1024 channels of 16-bit elements, 16 bytes each
constexpr int kBooks = 8;  // rows in flight per thread: independent loads hide the latency of L2

struct Codes {
  const std::int64_t* data;
  std::int64_t time;  // frames of one batch entry
  std::int64_t batch_stride, time_stride, book_stride;
  int books;
};

// kWidth neighbouring channels: 16 bytes, or one element where rows are not aligned.
template <class T, int kWidth>
struct alignas(kWidth * sizeof(T)) Channels {
  T v[kWidth];
};

// One frame per blockIdx.x, kThreads·kWidth of its channels per blockIdx.y. An id outside the table
// reads row 0: a kernel has no way to raise, and must not read foreign memory.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    rvq_decode_kernel(T* y, Codes codes, const T* table, std::int64_t rows, std::int64_t width) {
  const std::int64_t frame = blockIdx.x;  // b * time + t
  const std::int64_t channel = (std::int64_t{blockIdx.y} * kThreads + threadIdx.x) * kWidth;
  if (channel >= width) return;
  const std::int64_t* ids =
      codes.data + frame / codes.time * codes.batch_stride + frame % codes.time * codes.time_stride;
  float total[kWidth] = {};
  for (int begin = 0; begin < codes.books; begin += kBooks) {
    Channels<T, kWidth> found[kBooks];
#pragma unroll
    for (int i = 0; i < kBooks; ++i) {
      const std::int64_t n = begin + i;
      if (n >= codes.books) break;
      const std::int64_t id = ids[n * codes.book_stride];
      const std::int64_t row = id >= 0 && id < rows ? id : 0;
      found[i] =
          *reinterpret_cast<const Channels<T, kWidth>*>(table + (n * rows + row) * width + channel);
    }
#pragma unroll
    for (int i = 0; i < kBooks; ++i) {
      if (begin + i >= codes.books) break;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) total[j] += to_float(found[i].v[j]);
    }
  }
  Channels<T, kWidth> rounded;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) rounded.v[j] = from_float<T>(total[j]);
  *reinterpret_cast<Channels<T, kWidth>*>(y + frame * width + channel) = rounded;
}

}  // namespace

void rvq_decode(const Tensor& y, const Tensor& codes, const Tensor& table, Stream stream) {
  check(y.ndim == 3 && codes.ndim == 3 && table.ndim == 3,
        "rvq_decode: expected y (B, T, D), codes (B, T, N) and table (>= N, K, D)");
  const std::int64_t frames = codes.shape[0] * codes.shape[1];
  const std::int64_t rows = table.shape[1], width = table.shape[2];
  check(y.shape[0] == codes.shape[0] && y.shape[1] == codes.shape[1] && y.shape[2] == width &&
            codes.shape[2] <= table.shape[0],
        "rvq_decode: the shapes of y (B, T, D), codes (B, T, N) and table (>= N, K, D) do not fit");
  check(codes.dtype == DType::kInt64, "rvq_decode: codes must be int64");
  check(y.dtype == table.dtype && is_float(y.dtype),
        "rvq_decode: y and table must share a float dtype");
  check(y.contiguous() && table.contiguous(), "rvq_decode: y and table must be contiguous");
  check(frames <= 2147483647, "rvq_decode: B * T must be at most 2147483647");
  if (y.numel() == 0) return;
  check(rows > 0 || codes.shape[2] == 0, "rvq_decode: the table has no rows");
  const Codes view{codes.as<std::int64_t>(), codes.shape[1],  codes.stride[0],
                   codes.stride[1],          codes.stride[2], static_cast<int>(codes.shape[2])};
  dispatch_float(y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto run = [&](auto kernel, std::int64_t channels_per_block) {
      const std::int64_t blocks = (width + channels_per_block - 1) / channels_per_block;
      launch(kernel, dim3(static_cast<unsigned>(frames), static_cast<unsigned>(blocks)),
             dim3(kThreads), 0, stream, y.as<T>(), view, table.as<T>(), rows, width);
    };
    constexpr int kWidth = Pack<T>::kSize;
    const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(y.data) |
                                reinterpret_cast<std::uintptr_t>(table.data) | width * sizeof(T);
    if (bits % 16 == 0) {
      run(rvq_decode_kernel<T, kWidth>, kThreads * kWidth);
    } else {
      run(rvq_decode_kernel<T, 1>, kThreads);
    }
  });
}

}  // namespace vivace
