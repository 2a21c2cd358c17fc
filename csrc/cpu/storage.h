// SPDX-License-Identifier: Apache-2.0
// The element types of tensors as the CPU loops see them. Arithmetic is float32 always.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace vivace::cpu {

struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

[[gnu::always_inline]] inline std::int64_t size_of(DType dtype) {
  return dtype == DType::kFloat32 ? 4 : 2;
}

// f(pointer of the storage type) for a float dtype; the pointer is null and only names the type.
template <class F>
inline void dispatch_storage(DType dtype, const F& f) {
  if (dtype == DType::kFloat32) return f(static_cast<float*>(nullptr));
  if (dtype == DType::kFloat16) return f(static_cast<Float16*>(nullptr));
  f(static_cast<BFloat16*>(nullptr));
}

}  // namespace vivace::cpu
