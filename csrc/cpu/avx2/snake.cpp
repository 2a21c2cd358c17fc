// SPDX-License-Identifier: Apache-2.0
// The AVX2 loop of csrc/cpu/snake.cpp: 8 elements at a time, float32 inside.
#include <type_traits>

#include "cpu/activation.h"
#include "cpu/avx2/vec.h"

namespace vivace::avx2 {

void snake(void* y, const void* x, DType dtype, float a, std::int64_t n) {
  const Vec::Reg alpha = Vec::set(a), inverse = cpu::snake_scale<Vec>(alpha);
  cpu::dispatch_storage(dtype, [&](auto* type) {
    using Storage = std::remove_pointer_t<decltype(type)>;
    const auto* in = static_cast<const Storage*>(x);
    auto* out = static_cast<Storage*>(y);
    const auto activate = [&](Vec::Reg v) {
      return cpu::activate<Vec, Activation::kSnake, false>(v, alpha, inverse, 0.0f);
    };
    std::int64_t i = 0;
    for (; i + Vec::kWidth <= n; i += Vec::kWidth) {
      Vec::store(out + i, activate(Vec::load(in + i)));
    }
    const int rest = static_cast<int>(n - i);
    if (rest > 0) Vec::store(out + i, activate(Vec::load(in + i, rest)), rest);
  });
}

}  // namespace vivace::avx2
