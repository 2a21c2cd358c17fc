// SPDX-License-Identifier: Apache-2.0
#include "bindings/binding.h"

namespace vivace {
void causal_attention(const Tensor& y, const Tensor& qkv, const Tensor& keys, const Tensor& values,
                      const Tensor& lengths, std::int64_t longest, Stream stream);
}

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("causal_attention", &vivace::causal_attention, "y"_a, "qkv"_a, "keys"_a, "values"_a,
        "lengths"_a, "longest"_a, "stream"_a, release(),
        "y = softmax(q·kᵀ / √D) v of new tokens behind cached ones, and appends the new ones.  "
        "y: (B, T, H·D), qkv: (B, T, 3·H·D), both contiguous; keys, values: (B, H, S, D) of the "
        "same strides, the last two those of a contiguous tensor; lengths: (B,) int64.");
}
