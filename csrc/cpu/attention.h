// SPDX-License-Identifier: Apache-2.0
// One query over cached keys and values: softmax(q·kᵀ / √D) v, in float32. V is the Vec of an
// instruction set.
#pragma once

#include <cstdint>

#include "cpu/functions.h"
#include "cpu/storage.h"

namespace vivace::cpu {

constexpr int kScoreStep = 16;  // the buffer of scores is padded to this

constexpr int kMostDim = 128;  // of a head

template <class V, class To, class From>
inline void convert(To* to, const From* from, int n) {
  const int whole = n / V::kWidth * V::kWidth;
  for (int i = 0; i < whole; i += V::kWidth) V::store(to + i, V::load(from + i));
  if (n > whole) V::store(to + whole, V::load(from + whole, n - whole), n - whole);
}

template <class V, class Storage>
inline typename V::Reg load_first(const Storage* p, int n) {
  return n == V::kWidth ? V::load(p) : V::load(p, n);
}

// Asks for the token that is read 16 later: a head of 64 is 2 KB in 16 bits by then.
template <class Storage>
inline void prefetch_token(const Storage* p, int dim) {
  constexpr int kLine = 64 / int{sizeof(Storage)};
  for (int d = 0; d < dim; d += kLine) __builtin_prefetch(p + 16 * dim + d);
}

// out[d] = Σ_j p[j] v[j][d] · inverse for kRegs registers of columns, the last of which has `last`
// of them.
template <class V, int kRegs, class Storage>
inline void weigh(float* out, const float* p, const Storage* v, std::int64_t tokens, int dim,
                  int last, float inverse) {
  typename V::Reg sum[kRegs];
  for (int i = 0; i < kRegs; ++i) sum[i] = V::zero();
  for (std::int64_t j = 0; j < tokens; ++j, v += dim) {
    const auto weight = V::set(p[j]);
    prefetch_token(v, dim);
    for (int i = 0; i + 1 < kRegs; ++i) {
      sum[i] = V::fma(weight, V::load(v + i * V::kWidth), sum[i]);
    }
    const auto columns = load_first<V>(v + (kRegs - 1) * V::kWidth, last);
    sum[kRegs - 1] = V::fma(weight, columns, sum[kRegs - 1]);
  }
  const auto scale = V::set(inverse);
  for (int i = 0; i + 1 < kRegs; ++i) V::store(out + i * V::kWidth, V::mul(sum[i], scale));
  float* const rest = out + (kRegs - 1) * V::kWidth;
  if (last == V::kWidth) {
    V::store(rest, V::mul(sum[kRegs - 1], scale));
  } else {
    V::store(rest, V::mul(sum[kRegs - 1], scale), last);
  }
}

// y (D,) of the query q (D,) over tokens (tokens, D), one after the other. `scores`: room for one
// per token, rounded up to kScoreStep.
template <class V, class Storage>
inline void attend(float* y, const float* q, const Storage* keys, const Storage* values,
                   std::int64_t tokens, int dim, float* scores) {
  const int whole = dim / V::kWidth * V::kWidth, rest = dim - whole;
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(dim));
  auto largest = V::set(-__builtin_inff());
  const Storage* k = keys;
  for (std::int64_t j = 0; j < tokens; ++j, k += dim) {
    auto sum = V::zero();
    prefetch_token(k, dim);
    for (int d = 0; d < whole; d += V::kWidth) sum = V::fma(V::load(q + d), V::load(k + d), sum);
    if (rest > 0) sum = V::fma(V::load(q + whole, rest), V::load(k + whole, rest), sum);
    scores[j] = V::sum(sum) * scale;
  }
  const std::int64_t padded = (tokens + kScoreStep - 1) / kScoreStep * kScoreStep;
  for (std::int64_t j = tokens; j < padded; ++j) scores[j] = -__builtin_inff();
  for (std::int64_t j = 0; j < padded; j += V::kWidth)
    largest = V::max(V::load(scores + j), largest);
  float lanes[V::kWidth];
  V::store(lanes, largest);
  float top = lanes[0];
  for (int i = 1; i < V::kWidth; ++i) top = lanes[i] > top ? lanes[i] : top;
  auto total = V::zero();
  for (std::int64_t j = 0; j < padded; j += V::kWidth) {
    const auto p = exp<V>(V::sub(V::load(scores + j), V::set(top)));
    V::store(scores + j, p);
    total = V::add(total, p);
  }
  const float inverse = 1.0f / V::sum(total);
  // 64 columns at a time fill the registers that sums have.
  constexpr int kRegs = 64 / V::kWidth;
  for (int d = 0; d < dim; d += 64) {
    const int columns = dim - d < 64 ? dim - d : 64;
    if (columns == 64) {
      weigh<V, kRegs>(y + d, scores, values + d, tokens, dim, V::kWidth, inverse);
      continue;
    }
    for (int i = 0; i < columns; i += V::kWidth) {
      const int n = columns - i < V::kWidth ? columns - i : V::kWidth;
      weigh<V, 1>(y + d + i, scores, values + d + i, tokens, dim, n, inverse);
    }
  }
}

}  // namespace vivace::cpu
