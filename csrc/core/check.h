// SPDX-License-Identifier: Apache-2.0
// Argument checks of the host functions. The Python op checks first and words the error for people;
// these are the second line of defence, for callers that reach the native module directly.
#pragma once

#include <optional>
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

// (B, T, C) whose frames follow each other; the clips may be anywhere.
inline bool dense_frames(const Tensor& t) {
  return (t.stride[2] == 1 || t.shape[2] == 1) && (t.stride[1] == t.shape[2] || t.shape[1] <= 1);
}

inline bool is_vector(const std::optional<Tensor>& v, std::int64_t size, DType dtype) {
  return !v || (v->ndim == 1 && v->shape[0] == size && v->dtype == dtype && v->contiguous());
}

template <class T>
T* data_of(const std::optional<Tensor>& t) {
  return t ? t->as<T>() : nullptr;
}

}  // namespace vivace
