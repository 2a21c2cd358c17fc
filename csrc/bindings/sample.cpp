// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "bindings/binding.h"

namespace vivace {
void sample(const Tensor& ids, const Tensor& logits, const std::optional<Tensor>& noise,
            double temperature, std::int64_t top_k, double top_p, double min_p, std::int64_t eos,
            double min_eos_p, Stream stream);
}

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("sample", &vivace::sample, "ids"_a, "logits"_a, "noise"_a, "temperature"_a, "top_k"_a,
        "top_p"_a, "min_p"_a, "eos"_a, "min_eos_p"_a, "stream"_a, release(),
        "ids[m] = argmax(softmax(filtered logits[m] / temperature) / noise[m]); noise None: the "
        "largest logit.  logits, noise: (M, V) float32, the values of a row side by side; ids: "
        "(M,) int64.");
}
