// SPDX-License-Identifier: Apache-2.0
// conv1d on the CPU: y[t] = tanh?(residual[t] + bias + Σ_j W_j act(x[t·stride + j·dilation −
// pad_left])). Checks and packing; the loops are in <instruction set>/conv.cpp.
#include "cpu/conv_run.h"

namespace vivace {

// Weights stream from memory, and a piece of work is as small as it has to be.
bool conv1d_fits(std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, int, bool,
                 bool, int) {
  return true;
}

std::int64_t conv1d_packed_bytes(std::int64_t channels_out, std::int64_t channels_in,
                                 std::int64_t kernel, int products) {
  return cpu::packed_bytes(channels_out, channels_in, kernel, static_cast<Products>(products));
}

void conv1d_pack(const Tensor& out, const Tensor& weight, int products, Stream stream) {
  check(weight.ndim == 3, "conv1d_pack: weight must be (C_out, C_in, K)");
  const std::int64_t channels = weight.shape[1], taps = weight.shape[2];
  cpu::check_pack(out, weight, conv1d_packed_bytes(weight.shape[0], channels, taps, products));
  cpu::pack(out.data, static_cast<int>(weight.shape[0]), static_cast<int>(channels),
            static_cast<int>(taps), static_cast<Products>(products), stream.threads(),
            [&](int column, int channel, int tap) {
              return cpu::element(weight, (column * channels + channel) * taps + tap);
            });
}

void conv1d(const Tensor& y, const Tensor& x, const Tensor& packed,
            const std::optional<Tensor>& bias, const std::optional<Tensor>& alpha,
            const std::optional<Tensor>& residual, const std::optional<Tensor>& lengths,
            std::int64_t kernel, std::int64_t stride, std::int64_t dilation, std::int64_t pad_left,
            int activation, double slope, bool reflect_pad, bool tanh, int products,
            Stream stream) {
  const cpu::Input in = cpu::input_of(x, alpha, lengths, activation, slope, reflect_pad);
  check(y.ndim == 3 && x.shape[0] == y.shape[0] && x.dtype == y.dtype && y.contiguous(),
        "conv1d: y must be a contiguous (B, T', C_out) of x's dtype");
  check(kernel >= 1 && stride >= 1 && dilation >= 1 && pad_left >= 0 && pad_left < (1 << 30) &&
            kernel * dilation < (1 << 30) && y.shape[1] < (1 << 30) && stride < (1 << 20),
        "conv1d: kernel, stride, dilation or padding is out of range");
  check(cpu::is_packed(packed, conv1d_packed_bytes(y.shape[2], x.shape[2], kernel, products)),
        "conv1d: the packed weights are of another shape");
  check(is_vector(bias, y.shape[2], DType::kFloat32), "conv1d: bias must be (C_out,) float32");
  check(!residual ||
            (same_shape(*residual, y) && residual->dtype == y.dtype && dense_frames(*residual)),
        "conv1d: residual must be like y, with dense frames");
  if (y.numel() == 0) return;
  const cpu::Conv conv{
      in,
      static_cast<int>(kernel),
      static_cast<int>(stride),
      static_cast<int>(dilation),
      static_cast<int>(pad_left),
      static_cast<int>(y.shape[1]),
      static_cast<int>(y.shape[2]),
      packed.data,
      {y.data, y.dtype, y.shape[1] * y.shape[2], 0, data_of<float>(bias),
       residual ? residual->data : nullptr, residual ? residual->stride[0] : 0, tanh}};
  cpu::run(conv, x.shape[0], products, stream.threads());
}

}  // namespace vivace
