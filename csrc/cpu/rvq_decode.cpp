// SPDX-License-Identifier: Apache-2.0
// Residual vector quantisation, decoding: y[b, t] = Σ_n table[n, codes[b, t, n]], summed in float32
// in the order of the codebooks and rounded once. Checks and threads; the loop is in rvq_decode.h.
#include "cpu/rvq_decode.h"

#include "core/check.h"
#include "core/isa.h"
#include "core/parallel.h"
#include "core/tensor.h"

namespace vivace {

// Frames [begin, end) of the problem.
using RvqDecodeFrames = void (*)(const cpu::RvqDecode& p, std::int64_t begin, std::int64_t end);
namespace avx2 {
void rvq_decode(const cpu::RvqDecode& p, std::int64_t begin, std::int64_t end);
}
namespace avx512 {
void rvq_decode(const cpu::RvqDecode& p, std::int64_t begin, std::int64_t end);
}

void rvq_decode(const Tensor& y, const Tensor& codes, const Tensor& table, Stream stream) {
  check(y.ndim == 3 && codes.ndim == 3 && table.ndim == 3,
        "rvq_decode: expected y (B, T, D), codes (B, T, N) and table (>= N, K, D)");
  const std::int64_t frames = codes.shape[0] * codes.shape[1];
  check(y.shape[0] == codes.shape[0] && y.shape[1] == codes.shape[1] &&
            y.shape[2] == table.shape[2] && codes.shape[2] <= table.shape[0],
        "rvq_decode: the shapes of y (B, T, D), codes (B, T, N) and table (>= N, K, D) do not fit");
  check(codes.dtype == DType::kInt64, "rvq_decode: codes must be int64");
  check(y.dtype == table.dtype && is_float(y.dtype),
        "rvq_decode: y and table must share a float dtype");
  check(y.contiguous() && table.contiguous(), "rvq_decode: y and table must be contiguous");
  const auto kernel = isa::best<RvqDecodeFrames>(
      {{isa::kAvx2, avx2::rvq_decode}, {isa::kAvx512, avx512::rvq_decode}});
  check(kernel != nullptr, "rvq_decode: this CPU has neither AVX2 nor AVX-512");
  if (y.numel() == 0) return;
  check(table.shape[1] > 0 || codes.shape[2] == 0, "rvq_decode: the table has no rows");
  const cpu::RvqDecode problem{
      y.data,          codes.as<std::int64_t>(), table.data,      codes.shape[1],
      codes.stride[0], codes.stride[1],          codes.stride[2], codes.shape[2],
      table.shape[1],  table.shape[2],           y.dtype};
  // A second thread pays from about 256 KiB of rows on.
  const std::int64_t bytes = (problem.books + 1) * problem.width * cpu::size_of(y.dtype);
  const std::int64_t piece = bytes > (1 << 17) ? 1 : (1 << 17) / bytes;
  parallel_for(stream.threads(), (frames + piece - 1) / piece, [&](std::int64_t i) {
    const std::int64_t begin = i * piece;
    kernel(problem, begin, begin + piece < frames ? begin + piece : frames);
  });
}

}  // namespace vivace
