// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "bindings/binding.h"

namespace vivace {
std::int64_t conv_transpose1d_packed_bytes(std::int64_t channels_in, std::int64_t channels_out,
                                           std::int64_t kernel, int products);
void conv_transpose1d_pack(const Tensor& out, const Tensor& weight, int products, Stream stream);
void conv_transpose1d(const Tensor& y, const Tensor& x, const Tensor& packed,
                      const std::optional<Tensor>& bias, const std::optional<Tensor>& alpha,
                      const std::optional<Tensor>& lengths, std::int64_t stride,
                      std::int64_t crop_left, int activation, float slope, int products,
                      Stream stream);
}  // namespace vivace

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("conv_transpose1d_packed_bytes", &vivace::conv_transpose1d_packed_bytes, "channels_in"_a,
        "channels_out"_a, "kernel"_a, "products"_a, "Size of what conv_transpose1d_pack() writes.");
  m.def("conv_transpose1d_pack", &vivace::conv_transpose1d_pack, "out"_a, "weight"_a, "products"_a,
        "stream"_a, release(),
        "Writes weight (C_in, C_out, 2·stride) into out (bytes,) uint8 in the kernel's order.");
  m.def(
      "conv_transpose1d", &vivace::conv_transpose1d, "y"_a, "x"_a, "packed"_a, "bias"_a, "alpha"_a,
      "lengths"_a, "stride"_a, "crop_left"_a, "activation"_a, "slope"_a, "products"_a, "stream"_a,
      release(),
      "Transposed convolution of the activated x (B, T, C_in), kernel 2·stride, plus bias: frames "
      "crop_left … crop_left + T' − 1 of it in y (B, T', C_out).  bias (C_out,), alpha (C_in,): "
      "float32 or None; lengths (B,) int64 or None: the valid frames of x; products: what x and "
      "weight are rounded to.");
}
