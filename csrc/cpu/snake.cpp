// SPDX-License-Identifier: Apache-2.0
// Snake: y = x + sin²(αx) / (α + 1e-9), one α per channel.  Ziyin et al. 2020, arXiv:2006.08195.
// Checks and threads; the loops are in avx2/snake.cpp and avx512/snake.cpp.
#include "core/check.h"
#include "core/isa.h"
#include "core/parallel.h"
#include "core/tensor.h"

namespace vivace {

// y[i] = x[i] + sin²(a x[i]) / (a + 1e-9) for n contiguous elements of the dtype.
using SnakeRow = void (*)(void* y, const void* x, DType dtype, float a, std::int64_t n);
namespace avx2 {
void snake(void* y, const void* x, DType dtype, float a, std::int64_t n);
}
namespace avx512 {
void snake(void* y, const void* x, DType dtype, float a, std::int64_t n);
}

void snake(const Tensor& y, const Tensor& x, const Tensor& alpha, Stream stream) {
  check(x.ndim == 3 && same_shape(x, y), "snake: x and y must be (B, C, T) of one shape");
  check(x.dtype == y.dtype && is_float(x.dtype), "snake: x and y must share a float dtype");
  check(y.contiguous(), "snake: y must be contiguous");
  check(x.stride[2] == 1 || x.shape[2] <= 1, "snake: the rows of x must be contiguous");
  check(alpha.dtype == DType::kFloat32 && alpha.ndim == 1 && alpha.shape[0] == x.shape[1] &&
            alpha.contiguous(),
        "snake: alpha must be (C,) float32");
  const auto row_kernel =
      isa::best<SnakeRow>({{isa::kAvx2, avx2::snake}, {isa::kAvx512, avx512::snake}});
  check(row_kernel != nullptr, "snake: this CPU has neither AVX2 nor AVX-512");
  if (x.numel() == 0) return;

  // Pieces of at least 16 K elements: below that a second thread costs more than it brings.
  constexpr std::int64_t kPiece = 16384;
  const std::int64_t time = x.shape[2], channels = x.shape[1];
  const std::int64_t pieces = (time + kPiece - 1) / kPiece;
  const std::int64_t size = x.dtype == DType::kFloat32 ? 4 : 2;
  const int threads = x.numel() < 2 * kPiece ? 1 : stream.threads();
  parallel_for(threads, x.shape[0] * channels * pieces, [&](std::int64_t i) {
    const std::int64_t row = i / pieces, begin = i % pieces * kPiece;
    const std::int64_t b = row / channels, c = row % channels;
    const std::int64_t n = time - begin < kPiece ? time - begin : kPiece;
    const char* in = x.as<char>() + size * (b * x.stride[0] + c * x.stride[1] + begin);
    row_kernel(y.as<char>() + size * (row * time + begin), in, x.dtype, alpha.as<float>()[c], n);
  });
}

}  // namespace vivace
