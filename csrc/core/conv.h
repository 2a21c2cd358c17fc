// SPDX-License-Identifier: Apache-2.0
// What the kernels of the conv1d family share with their Python ops (python/vivace/ops/_conv.py),
// and the order of their packed weights.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace vivace {

// The activation in front of a convolution; each maps 0 to 0, so padding commutes with it.
enum class Activation : int { kNone = 0, kSnake = 1, kElu = 2, kLeakyRelu = 3 };

// What the factors of a product are rounded to. Sums are float32 always.
enum class Products : int { kFloat32 = 0, kTf32 = 1, kBFloat16 = 2, kFloat16 = 3 };

// What tensor cores multiply for tensors of a dtype.
inline Products tensor_core_products(DType dtype) {
  if (dtype == DType::kFloat32) return Products::kTf32;
  return dtype == DType::kFloat16 ? Products::kFloat16 : Products::kBFloat16;
}

namespace conv {

// Tensor-core operands lie in planes of 16 bytes: a plane holds, for every row, the same 8 (16-bit)
// or 4 (float32) channels. ldmatrix then meets no bank conflict at any row, so that a tap is an
// offset.
constexpr int kPlaneBytes = 16;
constexpr int kPlanes = 4;  // of one step in K: 32 channels, 16 of float32

inline int plane_channels(Products products) { return products == Products::kTf32 ? 4 : 8; }

// Packed weights: [tap][plane of C_in][C_out, padded to 8][channels of a plane]. C_in is padded to
// whole steps. Tile shapes, stride and dilation do not enter, so one packing serves every call.
struct PackedShape {
  int planes;   // of C_in
  int columns;  // C_out, padded

  PackedShape(std::int64_t channels_out, std::int64_t channels_in, int per_plane)
      : planes(static_cast<int>((channels_in + kPlanes * per_plane - 1) / (kPlanes * per_plane)) *
               kPlanes),
        columns(static_cast<int>((channels_out + 7) / 8) * 8) {}

  std::int64_t tap_bytes() const { return std::int64_t{kPlaneBytes} * planes * columns; }
};

}  // namespace conv
}  // namespace vivace
