// SPDX-License-Identifier: Apache-2.0
#include "bindings/binding.h"

namespace vivace {
void snake(const Tensor& y, const Tensor& x, const Tensor& alpha, Stream stream);
}

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("snake", &vivace::snake, "y"_a, "x"_a, "alpha"_a, "stream"_a, release(),
        "y = x + sin²(αx)/(α + 1e-9).  x, y: (B, C, T), y contiguous, rows of x contiguous; "
        "alpha: (C,) float32.");
}
