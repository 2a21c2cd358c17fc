// SPDX-License-Identifier: Apache-2.0
// The steps of one layer, as one thread of a team does them: its share of the hidden units, all
// four gates of a unit together, so that their rows share the loads of h. V is the Vec of an
// instruction set with kMost and `sums`.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/functions.h"
#include "cpu/storage.h"

namespace vivace::cpu {

constexpr std::int64_t kLstmUnits = 16;  // that a thread takes at a time

struct Lstm {
  DType dtype, gates_dtype;
  void* y;            // (B, T, C)
  float *h, *c;       // (B, C), after the last step; c holds c0 before the first
  const void* gates;  // (B, T, 4C): what does not depend on h
  const void* w_hh;   // (4C, C)
  std::int64_t batch, time, channels;
  float* state;  // (2, B, C padded to kLstmUnits, padding 0): h of even and of odd steps
};

struct LstmThread {
  int rank, size;
  void (*wait)(const void* team);  // returns when all threads of the team have called it
  const void* team;
};

template <class V, class Weight, class Gate>
class LstmLoops {
 public:
  LstmLoops(const Lstm& problem, const LstmThread& thread) : p(problem), t(thread) {}

  void run() const {
    const std::int64_t blocks = width() / kLstmUnits;
    const std::int64_t begin = blocks * t.rank / t.size, end = blocks * (t.rank + 1) / t.size;
    for (std::int64_t step = 0; step < p.time; ++step) {
      const float* h = p.state + step % 2 * p.batch * width();
      float* next = p.state + (step + 1) % 2 * p.batch * width();
      for (std::int64_t block = begin; block < end; ++block) {
        for (std::int64_t b = 0; b < p.batch; b += V::kMost) {
          const std::int64_t rows = p.batch - b, first = block * kLstmUnits;
          if (rows >= V::kMost) {
            units<V::kMost>(step, first, b, h, next);
          } else if (rows == 1) {
            units<1>(step, first, b, h, next);
          } else if (rows == 2) {
            units<2>(step, first, b, h, next);
          } else {
            units<3>(step, first, b, h, next);
          }
        }
      }
      t.wait(t.team);
    }
  }

 private:
  using Reg = typename V::Reg;

  std::int64_t width() const { return (p.channels + kLstmUnits - 1) / kLstmUnits * kLstmUnits; }

  // kRows rows of the batch from b on: h and c of the units first .. first + 15.
  template <int kRows>
  void units(std::int64_t step, std::int64_t first, std::int64_t b, const float* h,
             float* next) const {
    const std::int64_t left = p.channels - first;
    const int count = left < kLstmUnits ? static_cast<int>(left) : static_cast<int>(kLstmUnits);
    float sums[kRows][4][kLstmUnits] = {};
    for (int u = 0; u < count; ++u) multiply<kRows>(sums, first + u, u, h + b * width());
    for (int r = 0; r < kRows; ++r) update(step, first, count, b + r, sums[r], next);
  }

  // sums[r][gate][u] = w_hh[gate, unit] · h[r]. In an order that does not depend on kRows.
  template <int kRows>
  void multiply(float (&sums)[kRows][4][kLstmUnits], std::int64_t unit, int u,
                const float* h) const {
    const auto* w = static_cast<const Weight*>(p.w_hh) + unit * p.channels;
    const std::int64_t gate = p.channels * p.channels;
    Reg sum[kRows][4];
    for (int r = 0; r < kRows; ++r) {
      for (int g = 0; g < 4; ++g) sum[r][g] = V::zero();
    }
    const std::int64_t whole = p.channels / V::kWidth * V::kWidth;
    for (std::int64_t k = 0; k < whole; k += V::kWidth) {
      Reg weight[4];
      for (int g = 0; g < 4; ++g) {
        weight[g] = V::load(w + g * gate + k);
        __builtin_prefetch(w + g * gate + k + p.channels);  // of the next unit
      }
      for (int r = 0; r < kRows; ++r) {
        const Reg value = V::load(h + r * width() + k);
        for (int g = 0; g < 4; ++g) sum[r][g] = V::fma(weight[g], value, sum[r][g]);
      }
    }
    if (whole < p.channels) {
      const int n = static_cast<int>(p.channels - whole);
      for (int g = 0; g < 4; ++g) {
        const Reg weight = V::load(w + g * gate + whole, n);
        for (int r = 0; r < kRows; ++r) {
          sum[r][g] = V::fma(weight, V::load(h + r * width() + whole), sum[r][g]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      float four[4];
      V::sums(four, sum[r]);
      for (int g = 0; g < 4; ++g) sums[r][g][u] = four[g];
    }
  }

  void update(std::int64_t step, std::int64_t first, int count, std::int64_t b,
              const float (&sums)[4][kLstmUnits], float* next) const {
    const std::int64_t at = b * p.time + step;
    const auto* gates = static_cast<const Gate*>(p.gates) + at * 4 * p.channels + first;
    auto* y = static_cast<Weight*>(p.y) + at * p.channels + first;
    float* c = p.c + b * p.channels + first;
    for (int i = 0; i < count; i += V::kWidth) {
      const int n = count - i < V::kWidth ? count - i : V::kWidth;
      const auto gate = [&](int g) {
        return V::add(first_of(gates + g * p.channels + i, n), V::load(sums[g] + i));
      };
      const Reg kept = V::mul(sigmoid<V>(gate(1)), first_of(c + i, n));
      const Reg cell = V::fma(sigmoid<V>(gate(0)), tanh<V>(gate(2)), kept);
      const Reg h = V::mul(sigmoid<V>(gate(3)), tanh<V>(cell));
      put(c + i, cell, n);
      put(y + i, h, n);
      put(next + b * width() + first + i, h, n);
      if (step + 1 == p.time) put(p.h + b * p.channels + first + i, h, n);
    }
  }

  template <class T>
  static Reg first_of(const T* from, int n) {
    return n == V::kWidth ? V::load(from) : V::load(from, n);
  }
  template <class T>
  static void put(T* to, Reg v, int n) {
    if (n == V::kWidth) {
      V::store(to, v);
    } else {
      V::store(to, v, n);
    }
  }

  const Lstm& p;
  const LstmThread& t;
};

template <class V>
inline void lstm_steps(const Lstm& p, const LstmThread& thread) {
  dispatch_storage(p.dtype, [&](auto* type) {
    using Weight = std::remove_pointer_t<decltype(type)>;
    if (p.gates_dtype == DType::kFloat32) {
      LstmLoops<V, Weight, float>(p, thread).run();
    } else {
      LstmLoops<V, Weight, Weight>(p, thread).run();
    }
  });
}

}  // namespace vivace::cpu
