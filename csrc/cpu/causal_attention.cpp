// SPDX-License-Identifier: Apache-2.0
// Causal attention of a few new tokens over a key-value cache: y = softmax(q·kᵀ / √D) v, and the
// new tokens appended (Vaswani et al. 2017). Checks and threads; the loops are in attention.h and
// causal_attention.h.
#include "cpu/causal_attention.h"

#include "core/check.h"
#include "core/isa.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/tensor.h"

namespace vivace {

using CausalAttentionRun = void (*)(const cpu::CausalAttentionHead& head);
namespace avx2 {
void causal_attention(const cpu::CausalAttentionHead& head);
}
namespace avx512 {
void causal_attention(const cpu::CausalAttentionHead& head);
}

void causal_attention(const Tensor& y, const Tensor& qkv, const Tensor& keys, const Tensor& values,
                      const Tensor& lengths, std::int64_t longest, Stream stream) {
  check(
      qkv.ndim == 3 && y.ndim == 3 && keys.ndim == 4 && same_shape(keys, values),
      "causal_attention: expected y (B, T, H D), qkv (B, T, 3 H D), keys and values (B, H, S, D)");
  const std::int64_t batch = qkv.shape[0], time = qkv.shape[1];
  const std::int64_t heads = keys.shape[1], capacity = keys.shape[2], dim = keys.shape[3];
  const std::int64_t width = heads * dim;
  check(is_float(qkv.dtype) && y.dtype == qkv.dtype && keys.dtype == qkv.dtype &&
            values.dtype == qkv.dtype && y.contiguous() && qkv.contiguous(),
        "causal_attention: the tensors must share a float dtype, y and qkv be contiguous");
  check(qkv.shape[2] == 3 * width && y.shape[0] == batch && y.shape[1] == time &&
            y.shape[2] == width && keys.shape[0] == batch,
        "causal_attention: y, qkv and the cache differ in batch, tokens or width");
  check(dim >= 8 && dim <= cpu::kMostDim && dim % 8 == 0,
        "causal_attention: heads must have 8, 16 .. 128 channels");
  for (const Tensor* cache : {&keys, &values}) {
    check(cache->stride[3] == 1 && (cache->stride[2] == dim || capacity <= 1),
          "causal_attention: the tokens of a cache must follow each other");
  }
  check(lengths.dtype == DType::kInt64 && lengths.ndim == 1 && lengths.shape[0] == batch &&
            lengths.contiguous(),
        "causal_attention: lengths must be (B,) int64");
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t length = lengths.as<std::int64_t>()[b];
    check(length >= 0 && length <= longest && length <= capacity - time,
          "causal_attention: lengths must be from 0 to `longest`, with room for the new tokens");
  }
  const auto kernel = isa::best<CausalAttentionRun>(
      {{isa::kAvx2, avx2::causal_attention}, {isa::kAvx512, avx512::causal_attention}});
  check(kernel != nullptr, "causal_attention: this CPU has neither AVX2 nor AVX-512");

  // Below this a second thread costs more than it brings.
  constexpr std::int64_t kWork = 1 << 20;
  const int threads = batch * time * width * (longest + time) < kWork ? 1 : stream.threads();
  const std::int64_t size = cpu::size_of(qkv.dtype);
  const std::int64_t room = (capacity + cpu::kScoreStep) * sizeof(float);
  parallel_for(threads, batch * heads, [&](std::int64_t i) {
    const std::int64_t b = i / heads, h = i % heads;
    const auto cache = [&](const Tensor& t) {
      return t.as<char>() + size * (b * t.stride[0] + h * t.stride[1]);
    };
    cpu::CausalAttentionHead head;
    head.dtype = qkv.dtype;
    head.y = y.as<char>() + size * (b * time * width + h * dim);
    head.qkv = qkv.as<char>() + size * (b * time * 3 * width + h * dim);
    head.keys = cache(keys);
    head.values = cache(values);
    head.time = time;
    head.length = lengths.as<std::int64_t>()[b];
    head.width = width;
    head.dim = dim;
    head.scores = static_cast<float*>(scratch(room));
    kernel(head);
  });
}

}  // namespace vivace
