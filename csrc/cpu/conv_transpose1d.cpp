// SPDX-License-Identifier: Apache-2.0
// Transposed convolution with kernel = 2·stride on the CPU: row i of the product, stride·C_out
// columns, is W[s:]·x[i − 1] + W[:s]·x[i], the raw frames i·s … i·s + s − 1. Checks and packing;
// the loops are in <instruction set>/conv.cpp.
#include <vector>

#include "cpu/conv_run.h"

namespace vivace {

std::int64_t conv_transpose1d_packed_bytes(std::int64_t channels_in, std::int64_t channels_out,
                                           std::int64_t kernel, int products) {
  const std::int64_t columns = kernel / 2 * channels_out;
  return cpu::packed_bytes(columns, channels_in, 2, static_cast<Products>(products));
}

void conv_transpose1d_pack(const Tensor& out, const Tensor& weight, int products, Stream stream) {
  check(weight.ndim == 3 && weight.shape[2] % 2 == 0,
        "conv_transpose1d_pack: weight must be (C_in, C_out, 2·stride)");
  const std::int64_t channels_out = weight.shape[1], kernel = weight.shape[2];
  const auto width = static_cast<int>(channels_out), stride = static_cast<int>(kernel / 2);
  cpu::check_pack(out, weight,
                  conv_transpose1d_packed_bytes(weight.shape[0], channels_out, kernel, products));
  cpu::pack(
      out.data, stride * width, static_cast<int>(weight.shape[0]), 2,
      static_cast<Products>(products), stream.threads(), [&](int column, int channel, int tap) {
        const int phase = column / width + (tap == 0 ? stride : 0);
        return cpu::element(weight, (channel * channels_out + column % width) * kernel + phase);
      });
}

void conv_transpose1d(const Tensor& y, const Tensor& x, const Tensor& packed,
                      const std::optional<Tensor>& bias, const std::optional<Tensor>& alpha,
                      const std::optional<Tensor>& lengths, std::int64_t stride,
                      std::int64_t crop_left, int activation, float slope, int products,
                      Stream stream) {
  const cpu::Input in = cpu::input_of(x, alpha, lengths, activation, slope, false);
  check(y.ndim == 3 && x.shape[0] == y.shape[0] && x.dtype == y.dtype && y.contiguous(),
        "conv_transpose1d: y must be a contiguous (B, T', C_out) of x's dtype");
  const std::int64_t channels = y.shape[2], columns = stride * channels;
  check(stride >= 1 && crop_left >= 0 && columns < (1 << 24) &&
            crop_left + y.shape[1] <= (x.shape[1] + 1) * stride,
        "conv_transpose1d: stride or crop is out of range");
  check(cpu::is_packed(packed,
                       conv_transpose1d_packed_bytes(x.shape[2], channels, 2 * stride, products)),
        "conv_transpose1d: the packed weights are of another shape");
  check(is_vector(bias, channels, DType::kFloat32),
        "conv_transpose1d: bias must be (C_out,) float32");
  if (y.numel() == 0) return;
  std::vector<float> biases;  // of every column
  if (bias) {
    biases.reserve(static_cast<std::size_t>(columns));
    for (std::int64_t i = 0; i < columns; ++i) biases.push_back(bias->as<float>()[i % channels]);
  }
  // Rows that are cropped away whole are not computed.
  const std::int64_t first = crop_left / stride;
  const std::int64_t last = (crop_left + y.shape[1] - 1) / stride;
  const cpu::Conv conv{
      in,
      2,
      1,
      1,
      static_cast<int>(1 - first),
      static_cast<int>(last - first + 1),
      static_cast<int>(columns),
      packed.data,
      {y.data, y.dtype, y.shape[1] * channels, (crop_left - first * stride) * channels,
       bias ? biases.data() : nullptr, nullptr, 0, false}};
  cpu::run(conv, x.shape[0], products, stream.threads());
}

}  // namespace vivace
