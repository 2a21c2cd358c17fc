// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "bindings/binding.h"

namespace vivace {
void conv1d(const Tensor& y, const Tensor& x, const Tensor& packed,
            const std::optional<Tensor>& bias, const std::optional<Tensor>& alpha,
            const std::optional<Tensor>& residual, const std::optional<Tensor>& lengths,
            std::int64_t kernel, std::int64_t stride, std::int64_t dilation, std::int64_t pad_left,
            int activation, double slope, bool reflect_pad, bool tanh, int products, Stream stream);
bool conv1d_fits(std::int64_t channels_out, std::int64_t channels_in, std::int64_t kernel,
                 std::int64_t stride, std::int64_t dilation, int activation, bool residual,
                 bool tanh, int products);
std::int64_t conv1d_packed_bytes(std::int64_t channels_out, std::int64_t channels_in,
                                 std::int64_t kernel, int products);
void conv1d_pack(const Tensor& out, const Tensor& weight, int products, Stream stream);
}  // namespace vivace

VIVACE_BIND(m) {
  using namespace vivace;
  m.def(
      "conv1d", &vivace::conv1d, "y"_a, "x"_a, "packed"_a, "bias"_a, "alpha"_a, "residual"_a,
      "lengths"_a, "kernel"_a, "stride"_a, "dilation"_a, "pad_left"_a, "activation"_a, "slope"_a,
      "reflect_pad"_a, "tanh"_a, "products"_a, "stream"_a, release(),
      "y[t] = tanh?(residual[t] + bias + Σ_j W_j act(x[t·stride + j·dilation − pad_left])).  "
      "x: (B, T, C_in) with dense frames, y: (B, T', C_out) contiguous, residual like y with dense "
      "frames; bias, alpha: float32; lengths: (B,) int64; packed: of conv1d_pack.");
  m.def("conv1d_fits", &conv1d_fits, "channels_out"_a, "channels_in"_a, "kernel"_a, "stride"_a,
        "dilation"_a, "activation"_a, "residual"_a, "tanh"_a, "products"_a,
        "Whether a block can hold on chip the frames that its taps read.");
  m.def("conv1d_packed_bytes", &conv1d_packed_bytes, "channels_out"_a, "channels_in"_a, "kernel"_a,
        "products"_a, "Bytes that conv1d_pack writes.");
  m.def("conv1d_pack", &conv1d_pack, "out"_a, "weight"_a, "products"_a, "stream"_a, release(),
        "Packs weight (C_out, C_in, K) for conv1d into out, uint8.");
}
