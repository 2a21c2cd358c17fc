// SPDX-License-Identifier: Apache-2.0
// Packs a convolution's weights (C_out, C_in, K) in the order of core/conv.h, rounded to what the
// tensor cores multiply. Runs once per change of the weights.
#pragma once

#include "core/conv_activation.cuh"
#include "core/conv_tile.cuh"

namespace vivace::conv {

// One element per thread, along the packed order. packed: of the first tap.
template <class T>
__global__ void pack_kernel(T* packed, const T* weight, int channels_out, int channels_in, int taps,
                            PackedShape shape) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t tap_size = std::int64_t{shape.planes} * shape.columns * kPerPlane<T>;
  if (i >= tap_size * taps) return;
  const int tap = static_cast<int>(i / tap_size);
  const int rest = static_cast<int>(i % tap_size);  // (plane * columns + n) * kPerPlane + e
  const int n = rest / kPerPlane<T> % shape.columns;
  const int c = rest / kPerPlane<T> / shape.columns * kPerPlane<T> + rest % kPerPlane<T>;
  float value = 0.0f;
  if (n < channels_out && c < channels_in) {
    value = to_float(weight[(static_cast<std::int64_t>(n) * channels_in + c) * taps + tap]);
  }
  packed[i] = round_factor<T>(value);
}

template <class T>
void pack_weights(void* packed, const Tensor& weight, PackedShape shape, Stream stream) {
  constexpr int kThreads = 256;
  const int taps = static_cast<int>(weight.shape[2]);
  const std::int64_t size = shape.tap_bytes() / static_cast<int>(sizeof(T)) * taps;
  const dim3 grid(static_cast<unsigned>((size + kThreads - 1) / kThreads));
  launch(pack_kernel<T>, grid, dim3(kThreads), 0, stream, static_cast<T*>(packed), weight.as<T>(),
         static_cast<int>(weight.shape[0]), static_cast<int>(weight.shape[1]), taps, shape);
}

}  // namespace vivace::conv
