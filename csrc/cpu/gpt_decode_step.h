// SPDX-License-Identifier: Apache-2.0
// One token through the layers, as one thread of a team does it: its share of the panels, of the
// heads and of the head's rows, with a wait wherever it needs what the others computed. V is the
// PanelVec of an instruction set.
#pragma once

#include <cstdint>

#include "cpu/attention.h"
#include "cpu/panel.h"
#include "cpu/storage.h"

namespace vivace::cpu {

struct DecodeLayer {
  const float *norm1, *norm1_bias;
  Matrix qkv, out;
  const float *norm2, *norm2_bias;
  Matrix up, down;
};

// What all threads share. Rows of activations are padded to whole panels, padding being zero.
struct DecodeStep {
  const DecodeLayer* layer;
  int layers;
  const float *norm, *norm_bias;
  Matrix head;
  std::int64_t batch, width, inner, heads, dim, capacity;
  DType dtype;  // of the cache
  const std::int64_t* lengths;
  char *keys, *values;     // (L, B, H, S, D)
  float* x;                // (B, width): the residual stream
  float *qkv, *seen, *up;  // (B, 3 width), (B, width), (B, inner)
  float* logits;           // (B, rows)
  std::int64_t first, rows;
};

// One thread. `wait` returns when all threads of the team have called it.
struct DecodeThread {
  int rank, size;
  float *normal, *scores;  // (B, width), (capacity, padded)
  void (*wait)(const void* team);
  const void* team;
};

template <class V>
class DecodeLoops {
 public:
  DecodeLoops(const DecodeStep& step, const DecodeThread& thread) : s(step), t(thread) {}

  void run() const {
    for (int i = 0; i < s.layers; ++i) {
      const DecodeLayer& l = s.layer[i];
      normalise(l.norm1, l.norm1_bias);
      product(l.qkv, t.normal, s.width, l.out, [&](std::int64_t b, std::int64_t n, float* y) {
        copy(s.qkv + b * padded(3 * s.width) + n, y);
      });
      wait();
      dispatch_storage(s.dtype, [&](auto* type) { attention(i, type); });
      wait();
      product(l.out, s.seen, s.width, l.up, [&](std::int64_t b, std::int64_t n, float* y) {
        add(s.x + b * padded(s.width) + n, y);
      });
      wait();
      normalise(l.norm2, l.norm2_bias);
      product(l.up, t.normal, s.width, l.down, [&](std::int64_t b, std::int64_t n, float* y) {
        for (int j = 0; j < kPanel; j += V::kWidth) V::store(y + j, gelu<V>(V::load(y + j)));
        copy(s.up + b * padded(s.inner) + n, y);
      });
      wait();
      const Matrix& next = i + 1 < s.layers ? s.layer[i + 1].qkv : s.head;
      product(l.down, s.up, s.inner, next, [&](std::int64_t b, std::int64_t n, float* y) {
        add(s.x + b * padded(s.width) + n, y);
      });
      wait();
    }
    normalise(s.norm, s.norm_bias);
    const std::int64_t first = s.first / kPanel, end = panels_of(s.first + s.rows);
    panels(s.head, first, end - first, t.normal, s.width, s.head.panels,
           [&](std::int64_t b, std::int64_t n, const float* y) {
             const std::int64_t from = n > s.first ? n : s.first;
             const std::int64_t last = s.first + s.rows;
             const std::int64_t to = n + kPanel < last ? n + kPanel : last;
             float* const logits = s.logits + b * s.rows - s.first;
             for (std::int64_t row = from; row < to; ++row) logits[row] = y[row - n];
           });
  }

 private:
  using Reg = typename V::Reg;
  static constexpr float kEpsilon = 1e-5f;

  static std::int64_t padded(std::int64_t n) { return panels_of(n) * kPanel; }
  void wait() const { t.wait(t.team); }
  std::int64_t share(std::int64_t n, int rank) const { return n * rank / t.size; }

  static void copy(float* to, const float* y) {
    for (int i = 0; i < kPanel; i += V::kWidth) V::store(to + i, V::load(y + i));
  }
  static void add(float* to, const float* y) {
    for (int i = 0; i < kPanel; i += V::kWidth) {
      V::store(to + i, V::add(V::load(to + i), V::load(y + i)));
    }
  }

  // finish(b, n, y): the outputs n .. n + 31 of row b, for this thread's share of `count` panels.
  template <class F>
  void panels(const Matrix& m, std::int64_t first, std::int64_t count, const float* x,
              std::int64_t depth, const char* next, const F& finish) const {
    const std::int64_t begin = first + share(count, t.rank), end = first + share(count, t.rank + 1);
    const Reading reading{m.panel(end), next};
    for (std::int64_t i = begin; i < end; ++i) {
      panel_rows<V>(m, i, x, padded(depth), s.batch, reading,
                    [&](std::int64_t b, float* y) { finish(b, i * kPanel, y); });
    }
  }

  template <class F>
  void product(const Matrix& m, const float* x, std::int64_t depth, const Matrix& next,
               const F& finish) const {
    const std::int64_t begin = share(panels_of(next.outputs), t.rank);
    panels(m, 0, panels_of(m.outputs), x, depth, next.panel(begin), finish);
  }

  // Every thread normalises all of x for itself: that is shorter than another wait.
  void normalise(const float* weight, const float* bias) const {
    const float count = static_cast<float>(s.width);
    for (std::int64_t b = 0; b < s.batch; ++b) {
      const float* x = s.x + b * padded(s.width);
      float* y = t.normal + b * padded(s.width);
      Reg sum = V::zero(), square = V::zero();
      for (std::int64_t i = 0; i < s.width; i += V::kWidth) sum = V::add(sum, V::load(x + i));
      const Reg mean = V::set(V::sum(sum) / count);
      for (std::int64_t i = 0; i < s.width; i += V::kWidth) {
        const Reg d = V::sub(V::load(x + i), mean);
        square = V::fma(d, d, square);
      }
      const Reg scale = V::set(1.0f / __builtin_sqrtf(V::sum(square) / count + kEpsilon));
      for (std::int64_t i = 0; i < s.width; i += V::kWidth) {
        const Reg d = V::mul(V::sub(V::load(x + i), mean), scale);
        V::store(y + i, V::fma(d, V::load(weight + i), V::load(bias + i)));
      }
    }
  }

  // This thread's share of the heads of all rows: appends the token, then attends.
  template <class Storage>
  void attention(int layer, Storage*) const {
    const std::int64_t items = s.batch * s.heads;
    const int dim = static_cast<int>(s.dim);
    for (std::int64_t item = share(items, t.rank); item < share(items, t.rank + 1); ++item) {
      const std::int64_t b = item / s.heads, at = item % s.heads * s.dim;
      const std::int64_t row = (layer * items + item) * s.capacity * s.dim;
      Storage* const keys = reinterpret_cast<Storage*>(s.keys) + row;
      Storage* const values = reinterpret_cast<Storage*>(s.values) + row;
      const float* q = s.qkv + b * padded(3 * s.width) + at;
      convert<V>(keys + s.lengths[b] * s.dim, q + s.width, dim);
      convert<V>(values + s.lengths[b] * s.dim, q + 2 * s.width, dim);
      float* const seen = s.seen + b * padded(s.width) + at;
      attend<V>(seen, q, keys, values, s.lengths[b] + 1, dim, t.scores);
    }
  }

  const DecodeStep& s;
  const DecodeThread& t;
};

}  // namespace vivace::cpu
