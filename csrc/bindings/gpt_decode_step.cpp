// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "bindings/binding.h"

namespace vivace {
void gpt_decode_step(const Tensor& logits, const Tensor& x, const std::vector<Tensor>& weights,
                     const Tensor& keys, const Tensor& values, const Tensor& lengths,
                     std::int64_t longest, std::int64_t first, int stored, const Tensor& workspace,
                     Stream stream);
void gpt_decode_step_pack(const Tensor& out, const std::vector<Tensor>& dense, std::int64_t inner,
                          int stored, Stream stream);
std::int64_t gpt_decode_step_packed_bytes(std::int64_t layers, std::int64_t width,
                                          std::int64_t inner, std::int64_t vocabulary, int stored);
std::int64_t gpt_decode_step_workspace_bytes(std::int64_t batch, std::int64_t width,
                                             std::int64_t inner, std::int64_t heads);
}  // namespace vivace

VIVACE_BIND(m) {
  using namespace vivace;
  m.def("gpt_decode_step", &vivace::gpt_decode_step, "logits"_a, "x"_a, "weights"_a, "keys"_a,
        "values"_a, "lengths"_a, "longest"_a, "first"_a, "stored"_a, "workspace"_a, "stream"_a,
        release(),
        "One token of each row through a GPT-2 block stack and rows first.. of "
        "its head.  logits: "
        "(B, rows) float32, x: (B, C), keys and values: (L, B, H, S, D), "
        "lengths: (B,) int64; "
        "weights: the tensor of gpt_decode_step_pack, or those that the op "
        "takes where "
        "gpt_decode_step_packed_bytes is 0; stored: 0 float32, 1 bfloat16, 2 "
        "float16, 3 int8.");
  m.def("gpt_decode_step_pack", &gpt_decode_step_pack, "out"_a, "dense"_a, "inner"_a, "stored"_a,
        "stream"_a, release(),
        "Packs 12 weights per layer, the last norm's and the head (V, C) into "
        "out, uint8.");
  m.def("gpt_decode_step_packed_bytes", &gpt_decode_step_packed_bytes, "layers"_a, "width"_a,
        "inner"_a, "vocabulary"_a, "stored"_a,
        "Bytes that gpt_decode_step_pack writes; 0 where the weights are read "
        "as they are.");
  m.def("gpt_decode_step_workspace_bytes", &gpt_decode_step_workspace_bytes, "batch"_a, "width"_a,
        "inner"_a, "heads"_a, "Bytes of the workspace of a step.");
}
