// SPDX-License-Identifier: Apache-2.0
// The loop of csrc/cpu/snake.cpp over the Vec of an instruction set; float32 inside.
#pragma once

#include <type_traits>

#include "cpu/activation.h"
#include "cpu/storage.h"

namespace vivace::cpu {

// y[i] = x[i] + sin²(a x[i]) / (a + 1e-9) for n contiguous elements of the dtype.
template <class V>
void snake_row(void* y, const void* x, DType dtype, float a, std::int64_t n) {
  const typename V::Reg alpha = V::set(a), inverse = snake_scale<V>(alpha);
  dispatch_storage(dtype, [&](auto* type) {
    using Storage = std::remove_pointer_t<decltype(type)>;
    const auto* in = static_cast<const Storage*>(x);
    auto* out = static_cast<Storage*>(y);
    const auto activated = [&](typename V::Reg v) {
      return activate<V, Activation::kSnake, false>(v, alpha, inverse, 0.0f);
    };
    std::int64_t i = 0;
    for (; i + V::kWidth <= n; i += V::kWidth) V::store(out + i, activated(V::load(in + i)));
    const int rest = static_cast<int>(n - i);
    if (rest > 0) V::store(out + i, activated(V::load(in + i, rest)), rest);
  });
}

}  // namespace vivace::cpu
