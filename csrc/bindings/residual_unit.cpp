// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "bindings/binding.h"

namespace vivace {
void residual_unit(const Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& alpha1,
                   const Tensor& bias1, const Tensor& alpha2, const Tensor& bias2,
                   const std::optional<Tensor>& lengths, std::int64_t dilation,
                   std::int64_t padding, int products, Stream stream);
bool residual_unit_fits(std::int64_t channels, std::int64_t dilation, int products);
std::int64_t residual_unit_packed_bytes(std::int64_t channels_out, std::int64_t channels_in,
                                        std::int64_t kernel, std::int64_t channels_out2,
                                        std::int64_t channels_in2, std::int64_t kernel2,
                                        int products);
void residual_unit_pack(const Tensor& out, const Tensor& weight1, const Tensor& weight2,
                        int products, Stream stream);
}  // namespace vivace

VIVACE_BIND(m) {
  using namespace vivace;
  m.def(
      "residual_unit", &vivace::residual_unit, "y"_a, "x"_a, "packed"_a, "alpha1"_a, "bias1"_a,
      "alpha2"_a, "bias2"_a, "lengths"_a, "dilation"_a, "padding"_a, "products"_a, "stream"_a,
      release(),
      "y = x + W2 snake(W1 * snake(x) + b1) + b2, x cropped to y.  x: (B, T, C) with dense frames, "
      "y: (B, T', C) contiguous; alphas, biases: (C,) float32; lengths: (B,) int64; packed: of "
      "residual_unit_pack.");
  m.def("residual_unit_fits", &residual_unit_fits, "channels"_a, "dilation"_a, "products"_a,
        "Whether one kernel can hold a tile's channels on chip.");
  m.def("residual_unit_packed_bytes", &residual_unit_packed_bytes, "channels_out"_a,
        "channels_in"_a, "kernel"_a, "channels_out2"_a, "channels_in2"_a, "kernel2"_a, "products"_a,
        "Bytes that residual_unit_pack writes, from the shapes of weight1 and weight2.");
  m.def("residual_unit_pack", &residual_unit_pack, "out"_a, "weight1"_a, "weight2"_a, "products"_a,
        "stream"_a, release(),
        "Packs weight1 (C, C, 7) and weight2 (C, C, 1) for residual_unit into out, uint8.");
}
