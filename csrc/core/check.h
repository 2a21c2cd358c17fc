// SPDX-License-Identifier: Apache-2.0
// Argument checks of the host functions. The Python op checks first and words the error for people;
// these are the second line of defence, for callers that reach the native module directly.
#pragma once

#include <stdexcept>
#include <string>

#include "core/tensor.h"

namespace vivace {

inline void check(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

inline bool same_shape(const Tensor& a, const Tensor& b) {
  if (a.ndim != b.ndim) return false;
  for (int i = 0; i < a.ndim; ++i) {
    if (a.shape[i] != b.shape[i]) return false;
  }
  return true;
}

inline bool is_float(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

}  // namespace vivace
