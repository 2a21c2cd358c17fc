// SPDX-License-Identifier: Apache-2.0
// The next token: temperature, top-k, top-p (Holtzman et al. 2020), min-p, then one draw as a race
// argmax(p / noise). Thresholds are found by a search over the bits of order-preserving keys, which
// is exact and needs no sort.
#include <optional>

#include "core/check.h"
#include "core/gpu.cuh"
#include "core/reduce.cuh"
#include "core/tensor.h"

namespace vivace {
namespace {

struct Problem {
  std::int64_t* ids;
  const float* logits;
  const float* noise;  // or null: the largest logit
  std::int64_t logits_stride, noise_stride;
  float temperature;
  float droppable;  // 1 - top_p: how much probability may go; < 0: none
  float min_p, min_eos_p;
  int width, top_k, eos;
};

// Unsigned integers in the order of the floats; the zeros are equal, NaN is above all.
__device__ inline unsigned order_key(float x) {
  if (x != x) return 0xffffffffu;
  const unsigned bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// What the threads of a block exchange. Two places, used in turns, so that one barrier per exchange
// is enough: nobody writes a place before all have passed the barrier behind its last reading.
template <int kThreads>
struct Exchange {
  float sums[2][kThreads / 32];
  unsigned counts[2][kThreads / 32];
  unsigned keys[2][kThreads / 32];
  int indices[2][kThreads / 32];
};

struct Best {
  unsigned key;
  int index;

  // Of a thread's tokens, which come in ascending order.
  __device__ void challenge(unsigned other, int at) {
    if (other > key || index == 0x7fffffff) key = other, index = at;
  }
};

constexpr Best kWorst{0, 0x7fffffff};

template <int kThreads>
class Block {
 public:
  __device__ explicit Block(Exchange<kThreads>& shared) : shared_(shared) {}

  __device__ float sum(float value) {
    value = warp_sum(value);
    float* const place = shared_.sums[turn_ ^= 1];
    if (threadIdx.x % 32 == 0) place[threadIdx.x / 32] = value;
    __syncthreads();
    return warp_sum(lane() < kWarps ? place[lane()] : 0.0f);
  }

  __device__ unsigned count(unsigned value) {
    value = __reduce_add_sync(kAllLanes, value);
    unsigned* const place = shared_.counts[turn_ ^= 1];
    if (threadIdx.x % 32 == 0) place[threadIdx.x / 32] = value;
    __syncthreads();
    return __reduce_add_sync(kAllLanes, lane() < kWarps ? place[lane()] : 0u);
  }

  // The largest key, and the first index that has it.
  __device__ Best best(Best mine) {
    mine = best_of_warp(mine);
    turn_ ^= 1;
    if (threadIdx.x % 32 == 0) {
      shared_.keys[turn_][threadIdx.x / 32] = mine.key;
      shared_.indices[turn_][threadIdx.x / 32] = mine.index;
    }
    __syncthreads();
    Best other{0, 0x7fffffff};
    if (lane() < kWarps) other = {shared_.keys[turn_][lane()], shared_.indices[turn_][lane()]};
    return best_of_warp(other);
  }

 private:
  static constexpr int kWarps = kThreads / 32;
  static __device__ int lane() { return threadIdx.x % 32; }

  static __device__ Best best_of_warp(Best mine) {
    const unsigned key = __reduce_max_sync(kAllLanes, mine.key);
    return {key, __reduce_min_sync(kAllLanes, mine.key == key ? mine.index : 0x7fffffff)};
  }

  Exchange<kThreads>& shared_;
  int turn_ = 0;
};

// Which tokens take part: those above the key, and of those at it the ones from an index on.
struct Limit {
  unsigned key = 0;
  int index = 0;

  __device__ bool keeps(unsigned other, int at) const {
    return other > key || (other == key && at >= index);
  }
};

// A row's tokens: first their logits, then their keys and weights exp(score - top), which are 0
// where a token takes no part. kItems tokens per thread in registers.
template <int kThreads, int kItems>
class Row {
 public:
  __device__ Row(const float* logits, int width) : width_(width) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) held_[i] = at(i) < width ? logits[at(i)] : 0.0f;
  }

  template <class F>
  __device__ void each_logit(F f) const {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (at(i) < width_) f(at(i), held_[i]);
    }
  }

  __device__ void weigh(float temperature, float top) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const float score = __fdiv_rn(held_[i], temperature);
      keys_[i] = order_key(score);
      held_[i] = expf(score - top);
    }
  }

  template <class F>
  __device__ void each(F f) const {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (at(i) < width_) f(at(i), keys_[i], held_[i]);
    }
  }

  // f(index, weight, the other row's logit).
  template <class F>
  __device__ void race(const Row& other, F f) const {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (at(i) < width_) f(at(i), held_[i], other.held_[i]);
    }
  }

  __device__ void keep(const Limit& limit) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (!limit.keeps(keys_[i], at(i))) held_[i] = 0.0f;
    }
  }

 private:
  static __device__ int at(int i) { return i * kThreads + threadIdx.x; }

  int width_;
  unsigned keys_[kItems];
  float held_[kItems];
};

// Any number of tokens: each pass reads the logits again, from the cache.
template <int kThreads>
class Row<kThreads, 0> {
 public:
  __device__ Row(const float* logits, int width) : logits_(logits), width_(width) {}

  template <class F>
  __device__ void each_logit(F f) const {
    for (int at = threadIdx.x; at < width_; at += kThreads) f(at, logits_[at]);
  }

  __device__ void weigh(float temperature, float top) { temperature_ = temperature, top_ = top; }

  template <class F>
  __device__ void each(F f) const {
#pragma unroll 4
    for (int at = threadIdx.x; at < width_; at += kThreads) {
      const float score = __fdiv_rn(logits_[at], temperature_);
      const unsigned key = order_key(score);
      f(at, key, limit_.keeps(key, at) ? expf(score - top_) : 0.0f);
    }
  }

  template <class F>
  __device__ void race(const Row& other, F f) const {
    each([&](int at, unsigned, float weight) { f(at, weight, other.logits_[at]); });
  }

  __device__ void keep(const Limit& limit) { limit_ = limit; }

 private:
  const float* logits_;
  int width_;
  float temperature_ = 1.0f, top_ = 0.0f;
  Limit limit_;
};

// The largest x for which test(x) holds, which must be monotone and hold for 0.
template <class F>
__device__ inline unsigned largest(F test) {
  unsigned found = 0;
#pragma unroll 1
  for (unsigned bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (test(found | bit)) found |= bit;
  }
  return found;
}

// From the k-th largest score on: ties with it stay.
template <class Tokens, class Threads>
__device__ inline Limit top_k_limit(Threads& block, const Tokens& row, unsigned k) {
  Limit limit;
  limit.key = largest([&](unsigned key) {
    unsigned above = 0;
    row.each([&](int, unsigned own, float) { above += own >= key; });
    return block.count(above) >= k;
  });
  return limit;
}

// In ascending order of scores, of equals in that of indices, tokens go while the sum of their
// probabilities, their own included, is at most `droppable`; the last one stays. A float32 sum of
// more of the same numbers in the same order is never smaller, so the searches are of monotone
// functions.
template <class Tokens, class Threads>
__device__ inline Limit top_p_limit(Threads& block, const Tokens& row, float top, float droppable) {
  const auto sum_below = [&](unsigned key) {
    float sum = 0.0f;
    row.each([&](int, unsigned own, float weight) { sum += own < key ? weight : 0.0f; });
    return block.sum(sum);
  };
  float total = 0.0f;
  row.each([&](int, unsigned, float weight) { total += weight; });
  const float bound = droppable * block.sum(total);
  Limit limit;
  limit.key = largest([&](unsigned key) { return sum_below(key) <= bound; });
  limit.key = min(limit.key, order_key(top));  // where rounding would drop all of them
  const float rest = bound - sum_below(limit.key);

  // Of the tokens at the key the first `dropped` go too.
  unsigned ties = 0;
  Best one{0, 0};  // their weight
  row.each([&](int, unsigned own, float weight) {
    if (own == limit.key) ++ties, one.key = __float_as_uint(weight);
  });
  ties = block.count(ties);
  if (ties < 2) return limit;
  const float fitting = floorf(rest / __uint_as_float(block.best(one).key));
  if (!(fitting >= 1.0f)) return limit;
  const unsigned dropped =
      fitting < static_cast<float>(ties) ? static_cast<unsigned>(fitting) : ties - 1;
  limit.index = static_cast<int>(largest([&](unsigned index) {
    if (index > 0x7fffffffu) return false;
    unsigned before = 0;
    row.each([&](int at, unsigned own, float) {
      before += static_cast<unsigned>(at) < index && own == limit.key;
    });
    return block.count(before) <= dropped;
  }));
  return limit;
}

// A row per block.
template <int kThreads, int kItems>
__global__ void __launch_bounds__(kThreads) sample_kernel(Problem p) {
  __shared__ Exchange<kThreads> shared;
  Block<kThreads> block(shared);
  const std::int64_t m = blockIdx.x;
  const float* const logits = p.logits + m * p.logits_stride;
  Row<kThreads, kItems> row(logits, p.width);

  Best best = kWorst;
  row.each_logit([&](int at, float logit) { best.challenge(order_key(logit), at); });
  best = block.best(best);
  float top = logits[best.index];
  if (p.eos >= 0) {
    float sum = 0.0f;
    row.each_logit([&](int, float logit) { sum += expf(logit - top); });
    sum = block.sum(sum);
    if (expf(logits[p.eos] - top) / sum > p.min_eos_p) {
      if (threadIdx.x == 0) p.ids[m] = p.eos;
      return;
    }
  }
  if (p.noise == nullptr) {
    if (threadIdx.x == 0) p.ids[m] = best.index;
    return;
  }

  top = __fdiv_rn(top, p.temperature);
  row.weigh(p.temperature, top);
  if (p.top_k > 0) row.keep(top_k_limit(block, row, static_cast<unsigned>(p.top_k)));
  if (p.droppable >= 0.0f) row.keep(top_p_limit(block, row, top, p.droppable));
  const Row<kThreads, kItems> noise(p.noise + m * p.noise_stride, p.width);
  float sum = 0.0f;
  row.each([&](int, unsigned, float weight) { sum += weight; });
  sum = block.sum(sum);
  const float least = p.min_p * (1.0f / sum);
  best = kWorst;
  row.race(noise, [&](int at, float weight, float clock) {
    const float probability = weight / sum;
    best.challenge(order_key(probability < least ? 0.0f : probability / clock), at);
  });
  best = block.best(best);
  if (threadIdx.x == 0) p.ids[m] = best.index;
}

}  // namespace

void sample(const Tensor& ids, const Tensor& logits, const std::optional<Tensor>& noise,
            double temperature, std::int64_t top_k, double top_p, double min_p, std::int64_t eos,
            double min_eos_p, Stream stream) {
  check(logits.ndim == 2 && ids.ndim == 1 && ids.shape[0] == logits.shape[0],
        "sample: expected ids (M,) and logits (M, V)");
  const std::int64_t rows = logits.shape[0], width = logits.shape[1];
  const auto rows_of_floats = [&](const Tensor& t) {
    return t.ndim == 2 && t.shape[0] == rows && t.shape[1] == width && t.dtype == DType::kFloat32 &&
           (t.stride[1] == 1 || width == 1);
  };
  check(rows_of_floats(logits) && (!noise || rows_of_floats(*noise)),
        "sample: logits and noise must be (M, V) float32, the values of a row side by side");
  check(ids.dtype == DType::kInt64 && ids.contiguous(), "sample: ids must be (M,) int64");
  check(width >= 1 && width <= 1 << 30, "sample: V must be from 1 to 2**30");
  check(rows <= 2147483647, "sample: M must be at most 2147483647");
  check(temperature > 0.0 && top_k >= 0 && top_p > 0.0 && eos >= -1 && eos < width,
        "sample: temperature and top_p must be > 0, top_k >= 0, eos -1 or below V");
  if (rows == 0) return;
  const Problem p{ids.as<std::int64_t>(),
                  logits.as<float>(),
                  data_of<float>(noise),
                  logits.stride[0],
                  noise ? noise->stride[0] : 0,
                  static_cast<float>(temperature),
                  top_p < 1.0 ? static_cast<float>(1.0 - top_p) : -1.0f,
                  static_cast<float>(min_p),
                  static_cast<float>(min_eos_p),
                  static_cast<int>(width),
                  static_cast<int>(top_k < width ? top_k : 0),
                  static_cast<int>(eos)};
  const auto run = [&](auto kernel, int threads) {
    launch(kernel, dim3(static_cast<unsigned>(rows)), dim3(threads), 0, stream, p);
  };
  if (width <= 128 * 8) {
    run(sample_kernel<128, 8>, 128);
  } else if (width <= 1024 * 12) {
    run(sample_kernel<1024, 12>, 1024);
  } else {
    run(sample_kernel<1024, 0>, 1024);
  }
}

}  // namespace vivace
