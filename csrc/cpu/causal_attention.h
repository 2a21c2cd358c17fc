// SPDX-License-Identifier: Apache-2.0
// New tokens over a cache, one head of one row: appends them, then attends from each.
#pragma once

#include <cstdint>

#include "cpu/attention.h"
#include "cpu/storage.h"

namespace vivace::cpu {

struct CausalAttentionHead {
  DType dtype;
  void* y;              // (T, dim), a token `width` elements after the other
  const void* qkv;      // the query of the first token, `width` before its key; 3 `width` per token
  void *keys, *values;  // (S, dim)
  std::int64_t time, length, width, dim;
  float* scores;  // (length + time, padded to kScoreStep)
};

template <class V, class Storage>
inline void causal_attention_head(const CausalAttentionHead& h, Storage*) {
  const int dim = static_cast<int>(h.dim);
  const auto* qkv = static_cast<const Storage*>(h.qkv);
  auto* keys = static_cast<Storage*>(h.keys);
  auto* values = static_cast<Storage*>(h.values);
  for (std::int64_t t = 0; t < h.time; ++t) {
    const Storage* key = qkv + t * 3 * h.width + h.width;
    const std::int64_t at = (h.length + t) * dim;
    __builtin_memcpy(keys + at, key, dim * sizeof(Storage));
    __builtin_memcpy(values + at, key + h.width, dim * sizeof(Storage));
  }
  float query[kMostDim], seen[kMostDim];
  for (std::int64_t t = 0; t < h.time; ++t) {
    convert<V>(query, qkv + t * 3 * h.width, dim);
    attend<V>(seen, query, keys, values, h.length + t + 1, dim, h.scores);
    convert<V>(static_cast<Storage*>(h.y) + t * h.width, seen, dim);
  }
}

}  // namespace vivace::cpu
