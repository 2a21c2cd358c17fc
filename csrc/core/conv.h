// SPDX-License-Identifier: Apache-2.0
// What the kernels of the conv1d family share with their Python ops (python/vivace/ops/_conv.py).
#pragma once

#include <cstdint>

namespace vivace {

// The activation in front of a convolution; each maps 0 to 0, so padding commutes with it.
enum class Activation : int { kNone = 0, kSnake = 1, kElu = 2, kLeakyRelu = 3 };

// What the factors of a product are rounded to. Sums are float32 always.
enum class Products : int { kFloat32 = 0, kTf32 = 1, kBFloat16 = 2, kFloat16 = 3 };

}  // namespace vivace
