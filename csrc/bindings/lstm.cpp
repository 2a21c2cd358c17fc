// SPDX-License-Identifier: Apache-2.0
#include "bindings/binding.h"

namespace vivace {
void lstm(const Tensor& y, const Tensor& h, const Tensor& c, const Tensor& gates,
          const Tensor& w_hh, const Tensor& h0, const Tensor& c0, Stream stream);
}

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("lstm", &vivace::lstm, "y"_a, "h"_a, "c"_a, "gates"_a, "w_hh"_a, "h0"_a, "c0"_a, "stream"_a,
        release(),
        "i, f, g, o = gates[t] + W_hh h; c = σ(f)·c + σ(i)·tanh(g); y[t] = h = σ(o)·tanh(c).  "
        "y: (B, T, C), gates: (B, T, 4C), which may be overwritten, w_hh: (4C, C), all contiguous; "
        "h, c (after the last frame), h0, c0: (B, C) float32.");
}
