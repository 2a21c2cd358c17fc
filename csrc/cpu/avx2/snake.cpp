// SPDX-License-Identifier: Apache-2.0
// The loop of csrc/cpu/snake.h on AVX2.
#include "cpu/snake.h"

#include "cpu/avx2/vec.h"

namespace vivace::avx2 {

void snake(void* y, const void* x, DType dtype, float a, std::int64_t n) {
  cpu::snake_row<Vec>(y, x, dtype, a, n);
}

}  // namespace vivace::avx2
