// SPDX-License-Identifier: Apache-2.0
// The loop of csrc/cpu/snake.h on AVX-512.
#include "cpu/snake.h"

#include "cpu/avx512/vec.h"

namespace vivace::avx512 {

void snake(void* y, const void* x, DType dtype, float a, std::int64_t n) {
  cpu::snake_row<Vec>(y, x, dtype, a, n);
}

}  // namespace vivace::avx512
