// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/sample.cpp over the logits of one row. V is the Vec of an instruction set
// with `at_least` and `keep_better`.
#pragma once

#include <cstdint>

#include "cpu/functions.h"

namespace vivace::cpu {

// Scores are padded with −inf to whole steps.
constexpr std::int64_t kSampleStep = 16;

struct SampleLoops {
  // Over n scores, n being whole steps. The largest, a NaN being none.
  float (*largest)(const float* scores, std::int64_t n);
  // Σ exp(scores − top).
  float (*total)(const float* scores, std::int64_t n, float top);
  // How many are >= bound.
  std::int64_t (*count)(const float* scores, std::int64_t n, float bound);
  // The first index of the largest value; 0 where none compares.
  std::int64_t (*argmax)(const float* values, std::int64_t n);
  // to = from / divisor, padded to whole steps.
  void (*divide)(float* to, const float* from, std::int64_t n, float divisor);
  // scores = exp(scores − top) / noise where scores >= bound and the former is >= smallest; else 0.
  // `noise` holds n values, the scores of whole steps.
  void (*race)(float* scores, const float* noise, std::int64_t n, float top, float bound,
               float smallest);
};

template <class V>
struct Sampler {
  using Reg = typename V::Reg;
  static constexpr int kWidth = V::kWidth;

  static float largest(const float* scores, std::int64_t n) {
    Reg top = V::set(-__builtin_inff());
    for (std::int64_t i = 0; i < n; i += kWidth) top = V::max(V::load(scores + i), top);
    float lanes[kWidth];
    V::store(lanes, top);
    for (int i = 1; i < kWidth; ++i) lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
    return lanes[0];
  }

  static float total(const float* scores, std::int64_t n, float top) {
    Reg sum[2] = {V::zero(), V::zero()};
    for (std::int64_t i = 0; i < n; i += 2 * kWidth) {
      sum[0] = V::add(sum[0], exp<V>(V::sub(V::load(scores + i), V::set(top))));
      if (i + kWidth < n) {
        sum[1] = V::add(sum[1], exp<V>(V::sub(V::load(scores + i + kWidth), V::set(top))));
      }
    }
    return V::sum(V::add(sum[0], sum[1]));
  }

  static std::int64_t count(const float* scores, std::int64_t n, float bound) {
    const Reg least = V::set(bound);
    std::int64_t found = 0;
    for (std::int64_t i = 0; i < n; i += kWidth) found += V::at_least(V::load(scores + i), least);
    return found;
  }

  static std::int64_t argmax(const float* values, std::int64_t n) {
    Reg best = V::set(-__builtin_inff()), index = V::zero();
    for (std::int64_t i = 0; i < n; i += kWidth) {
      V::keep_better(V::load(values + i), V::set(static_cast<float>(i)), best, index);
    }
    float value[kWidth], at[kWidth];
    V::store(value, best);
    V::store(at, index);
    std::int64_t found = 0;
    float top = -__builtin_inff();
    for (int i = 0; i < kWidth; ++i) {
      const std::int64_t here = static_cast<std::int64_t>(at[i]) + i;
      const bool first = value[i] == top && here < found;
      if (value[i] > top || first) {
        top = value[i];
        found = here;
      }
    }
    return found;
  }

  static void divide(float* to, const float* from, std::int64_t n, float divisor) {
    const Reg by = V::set(divisor);
    const std::int64_t whole = n / kWidth * kWidth;
    for (std::int64_t i = 0; i < whole; i += kWidth) {
      V::store(to + i, V::div(V::load(from + i), by));
    }
    for (std::int64_t i = whole; i < n; ++i) to[i] = from[i] / divisor;
    for (std::int64_t i = n; i % kSampleStep != 0; ++i) to[i] = -__builtin_inff();
  }

  static void race(float* scores, const float* noise, std::int64_t n, float top, float bound,
                   float smallest) {
    const Reg least = V::set(smallest), kept = V::set(bound);
    const auto step = [&](float* at, Reg clock) {
      const Reg score = V::load(at);
      const Reg p = exp<V>(V::sub(score, V::set(top)));
      const Reg time = V::negative(V::sub(p, least), V::zero(), V::div(p, clock));
      V::store(at, V::below(score, kept, V::zero(), time));
    };
    const std::int64_t whole = n / kWidth * kWidth;
    for (std::int64_t i = 0; i < whole; i += kWidth) step(scores + i, V::load(noise + i));
    if (whole < n) {
      float last[kWidth];
      for (int i = 0; i < kWidth; ++i) last[i] = whole + i < n ? noise[whole + i] : 1.0f;
      step(scores + whole, V::load(last));
    }
  }

  static constexpr SampleLoops loops() { return {largest, total, count, argmax, divide, race}; }
};

}  // namespace vivace::cpu
