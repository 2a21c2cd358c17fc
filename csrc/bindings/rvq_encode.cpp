// SPDX-License-Identifier: Apache-2.0
#include "bindings/binding.h"

namespace vivace {
void rvq_encode(const Tensor& codes, const Tensor& latents, const Tensor& quantized,
                const Tensor& z, const Tensor& in_weight, const Tensor& in_bias,
                const Tensor& out_weight, const Tensor& out_bias, const Tensor& codebooks,
                Stream stream);
}

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("rvq_encode", &vivace::rvq_encode, "codes"_a, "latents"_a, "quantized"_a, "z"_a,
        "in_weight"_a, "in_bias"_a, "out_weight"_a, "out_bias"_a, "codebooks"_a, "stream"_a,
        release(),
        "Residual vector quantisation of z (B, T, D): codes (B, T, N) int64, latents (B, T, N·d), "
        "quantized (B, T, D).  in_weight: (N, d, D), in_bias: (N, d), out_weight: (N, D, d), "
        "out_bias: (N, D), codebooks: (N, K, d), d <= 32; all contiguous, float32.");
}
