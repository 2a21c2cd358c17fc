// SPDX-License-Identifier: Apache-2.0
#include "bindings/binding.h"

namespace vivace {
void rvq_decode(const Tensor& y, const Tensor& codes, const Tensor& table, Stream stream);
}

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("rvq_decode", &vivace::rvq_decode, "y"_a, "codes"_a, "table"_a, "stream"_a, release(),
        "y[b, t] = Σ_n table[n, codes[b, t, n]].  y: (B, T, D), codes: (B, T, N) int64 of any "
        "strides, table: (>= N, K, D); an id outside [0, K) reads row 0.");
}
