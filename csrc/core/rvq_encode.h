// SPDX-License-Identifier: Apache-2.0
// The arguments of rvq_encode, checked once for every backend.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "core/check.h"
#include "core/tensor.h"

namespace vivace {

struct RvqTensors {
  std::int64_t* codes;  // (frames, books)
  float* latents;       // (frames, books, dim)
  float* quantized;     // (frames, width)
  const float* z;       // (frames, width)
  const float* in_weight;
  const float* in_bias;
  const float* out_weight;
  const float* out_bias;
  const float* codebooks;
};

struct RvqCall {
  RvqTensors tensors;
  std::int64_t frames, width, books, rows, dim;
};

inline RvqCall checked_rvq_encode(const Tensor& codes, const Tensor& latents,
                                  const Tensor& quantized, const Tensor& z, const Tensor& in_weight,
                                  const Tensor& in_bias, const Tensor& out_weight,
                                  const Tensor& out_bias, const Tensor& codebooks) {
  check(z.ndim == 3 && codebooks.ndim == 3,
        "rvq_encode: expected z (B, T, D) and codebooks (N, K, d)");
  const std::int64_t batch = z.shape[0], time = z.shape[1], width = z.shape[2];
  const std::int64_t books = codebooks.shape[0], rows = codebooks.shape[1];
  const std::int64_t dim = codebooks.shape[2];
  const auto is = [](const Tensor& t, DType dtype, std::initializer_list<std::int64_t> shape) {
    if (t.dtype != dtype || t.ndim != static_cast<int>(shape.size())) return false;
    int i = 0;
    for (const std::int64_t size : shape) {
      if (t.shape[i++] != size) return false;
    }
    return t.contiguous();
  };
  constexpr DType kFloat = DType::kFloat32;
  check(is(codes, DType::kInt64, {batch, time, books}),
        "rvq_encode: codes must be (B, T, N) int64, contiguous");
  check(is(latents, kFloat, {batch, time, books * dim}) &&
            is(quantized, kFloat, {batch, time, width}) && is(z, kFloat, {batch, time, width}),
        "rvq_encode: latents (B, T, N * d), quantized and z (B, T, D) must be contiguous float32");
  check(is(in_weight, kFloat, {books, dim, width}) && is(in_bias, kFloat, {books, dim}) &&
            is(out_weight, kFloat, {books, width, dim}) && is(out_bias, kFloat, {books, width}) &&
            is(codebooks, kFloat, {books, rows, dim}),
        "rvq_encode: the weights must be contiguous float32: in_weight (N, d, D), in_bias (N, d), "
        "out_weight (N, D, d), out_bias (N, D), codebooks (N, K, d)");
  return {{codes.as<std::int64_t>(), latents.as<float>(), quantized.as<float>(), z.as<float>(),
           in_weight.as<float>(), in_bias.as<float>(), out_weight.as<float>(), out_bias.as<float>(),
           codebooks.as<float>()},
          batch * time,
          width,
          books,
          rows,
          dim};
}

}  // namespace vivace
