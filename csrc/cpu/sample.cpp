// SPDX-License-Identifier: Apache-2.0
// The next token of each row: argmax(softmax(kept logits / temperature) / noise), noise being
// exponential (the race of Efraimidis & Spirakis 2006). What is kept is chosen by bounds on the
// scores, so nothing is sorted but for top-p. The loops are in sample.h.
#include "cpu/sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "core/check.h"
#include "core/isa.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/tensor.h"

namespace vivace {

using SampleLoopsOf = cpu::SampleLoops (*)();
namespace avx2 {
cpu::SampleLoops sample();
}
namespace avx512 {
cpu::SampleLoops sample();
}

namespace {

struct Processors {
  float temperature;
  std::int64_t top_k;
  double top_p;
  float min_p;
  std::int64_t eos;
  float min_eos_p;
};

// Whole numbers in the order of the floats, negative ones included, and back.
std::int32_t rank_of(float value) {
  std::int32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits < 0 ? bits ^ 0x7fffffff : bits;
}
float value_of(std::int32_t rank) {
  const std::int32_t bits = rank < 0 ? rank ^ 0x7fffffff : rank;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// The k-th largest score: the largest bound that k scores reach, by halving. 31 passes over a row
// in the first cache take less time than a selection that moves it.
float kth_largest(const cpu::SampleLoops& loops, const float* scores, std::int64_t n,
                  std::int64_t k, float top) {
  std::int64_t low = rank_of(-INFINITY), high = rank_of(top);
  // Most kept sets lie within this of the top.
  const float near = top - 16.0f;
  if (loops.count(scores, n, near) >= k) low = rank_of(near);
  while (low < high) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    if (loops.count(scores, n, value_of(static_cast<std::int32_t>(middle))) >= k) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return value_of(static_cast<std::int32_t>(low));
}

struct Candidate {
  float score;
  std::int32_t index;
};

// Drops the smallest scores of [bound, top], as long as the probabilities of those dropped sum up
// to no more than 1 − top_p; of equals the first go first. They become −inf.
void keep_nucleus(float* scores, std::int64_t n, float bound, float top, double top_p,
                  Candidate* kept) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (scores[i] >= bound) kept[count++] = {scores[i], static_cast<std::int32_t>(i)};
  }
  std::sort(kept, kept + count, [](const Candidate& a, const Candidate& b) {
    return a.score < b.score || (a.score == b.score && a.index < b.index);
  });
  const float limit = static_cast<float>(1.0 - top_p);
  double total = 0.0, sum = 0.0;
  for (std::int64_t i = 0; i < count; ++i) total += std::exp(kept[i].score - top);
  for (std::int64_t i = 0; i + 1 < count; ++i) {
    sum += static_cast<float>(std::exp(kept[i].score - top) / total);
    if (!(static_cast<float>(sum) <= limit)) break;
    scores[kept[i].index] = -INFINITY;
  }
}

std::int64_t choose(const cpu::SampleLoops& loops, const float* logits, const float* noise,
                    std::int64_t n, const Processors& p, float* scores, Candidate* kept) {
  const std::int64_t padded = (n + cpu::kSampleStep - 1) / cpu::kSampleStep * cpu::kSampleStep;
  // Padding is first only where no value compares: the first token then, as torch has it.
  const auto inside = [n](std::int64_t id) { return id < n ? id : 0; };
  if (p.eos >= 0 || noise == nullptr) {
    loops.divide(scores, logits, n, 1.0f);
    if (p.eos >= 0) {
      const float top = loops.largest(scores, padded);
      const float ended = std::exp(logits[p.eos] - top) / loops.total(scores, padded, top);
      if (ended > p.min_eos_p) return p.eos;
    }
    if (noise == nullptr) return inside(loops.argmax(scores, padded));
  }
  loops.divide(scores, logits, n, p.temperature);
  const float top = loops.largest(scores, padded);
  float bound = -INFINITY;
  if (0 < p.top_k && p.top_k < n) bound = kth_largest(loops, scores, padded, p.top_k, top);
  if (p.top_p < 1.0) keep_nucleus(scores, n, bound, top, p.top_p, kept);
  // What is below has a probability of zero in float32, which a short time to wait must not win.
  bound = std::max(bound, top - 87.0f);
  loops.race(scores, noise, n, top, bound, p.min_p);
  return inside(loops.argmax(scores, padded));
}

}  // namespace

void sample(const Tensor& ids, const Tensor& logits, const std::optional<Tensor>& noise,
            double temperature, std::int64_t top_k, double top_p, double min_p, std::int64_t eos,
            double min_eos_p, Stream stream) {
  const auto rows_of = [](const Tensor& t) {
    return t.ndim == 2 && t.dtype == DType::kFloat32 && (t.stride[1] == 1 || t.shape[1] == 1);
  };
  check(rows_of(logits) && logits.shape[1] >= 1 && logits.shape[1] < 1 << 24,
        "sample: logits must be (M, V) float32 with dense rows, 1 <= V < 2^24");
  check(!noise || (rows_of(*noise) && same_shape(*noise, logits)),
        "sample: noise must be like logits");
  const std::int64_t rows = logits.shape[0], n = logits.shape[1];
  check(ids.dtype == DType::kInt64 && ids.ndim == 1 && ids.shape[0] == rows && ids.contiguous(),
        "sample: ids must be (M,) int64");
  check(temperature > 0 && eos >= -1 && eos < n,
        "sample: temperature must be > 0 and eos -1 or an id");
  const auto of =
      isa::best<SampleLoopsOf>({{isa::kAvx2, avx2::sample}, {isa::kAvx512, avx512::sample}});
  check(of != nullptr, "sample: this CPU has neither AVX2 nor AVX-512");
  const cpu::SampleLoops loops = of();
  const Processors p{static_cast<float>(temperature), top_k, top_p,
                     static_cast<float>(min_p),       eos,   static_cast<float>(min_eos_p)};
  const std::int64_t room = (n + cpu::kSampleStep) * sizeof(float);
  const std::int64_t sorted = top_p < 1.0 ? n * sizeof(Candidate) : 0;
  const int threads = rows * n < 1 << 17 ? 1 : stream.threads();
  parallel_for(threads, rows, [&](std::int64_t row) {
    char* memory = static_cast<char*>(scratch(room + sorted));
    ids.as<std::int64_t>()[row] =
        choose(loops, logits.as<float>() + row * logits.stride[0],
               noise ? noise->as<float>() + row * noise->stride[0] : nullptr, n, p,
               reinterpret_cast<float*>(memory), reinterpret_cast<Candidate*>(memory + room));
  });
}

}  // namespace vivace
