// SPDX-License-Identifier: Apache-2.0
// y = W x for a few rows of x, bound by reading W: its rows lie in panels of 32, depth first, so
// that lanes are outputs and the whole matrix is one forward stream.
//
//   [panel of 32 rows][depth, padded to even][32]
//
// bfloat16 pairs rows i and i + 16, which a shift and a mask take apart. What pads is zero.
#pragma once

#include <cstdint>

#include "cpu/storage.h"

namespace vivace::cpu {

constexpr int kPanel = 32;

// What weights are stored as, in the order of the Python op's STORED.
enum class Stored : int { kFloat32 = 0, kBFloat16 = 1, kFloat16 = 2, kInt8 = 3 };

inline std::int64_t panels_of(std::int64_t outputs) { return (outputs + kPanel - 1) / kPanel; }
inline std::int64_t even(std::int64_t depth) { return (depth + 1) / 2 * 2; }

// A packed matrix. `scale`: of every output for int8, else null; `bias` may be null. Both are
// padded to whole panels.
struct Matrix {
  std::int64_t outputs;
  std::int64_t depth;
  Stored stored;
  const char* panels;
  const float* scale;
  const float* bias;

  std::int64_t panel_bytes() const {
    const int size = stored == Stored::kFloat32 ? 4 : stored == Stored::kInt8 ? 1 : 2;
    return kPanel * size * even(depth);
  }
  const char* panel(std::int64_t i) const { return panels + i * panel_bytes(); }
};

// What is read after a stream that ends at `end`: memory is asked for 2 KB before it is needed,
// which the hardware's prefetcher, stopping at every page, does not do. In float16 one core then
// reads 17 GB/s of the 16 to 18 that it can; 4 KB ahead it is 15, in int8 13 instead of 16.
struct Reading {
  const char* end;
  const char* next;
};
constexpr std::int64_t kAhead = 2048;

// The address to ask for while p is read.
inline const char* ahead_of(const char* p, Reading reading) {
  const auto left = reinterpret_cast<std::uintptr_t>(reading.end) -
                    reinterpret_cast<std::uintptr_t>(p);  // whole numbers: it may lie beyond
  if (left > static_cast<std::uintptr_t>(kAhead)) return p + kAhead;
  return reading.next + (kAhead - static_cast<std::int64_t>(left));
}

// One panel for kRows rows of x, `x_stride` apart and padded to an even depth with zeros: out[r][i]
// = Σ_k w[k][i] x[r][k]. The sums of a row are the same whatever kRows is.
template <class V, int kRows, class W>
inline void multiply_panel(float (*out)[kPanel], const W* w, const float* x, std::int64_t x_stride,
                           std::int64_t depth, Reading reading) {
  using Reg = typename V::Reg;
  constexpr int kRegs = kPanel / V::kWidth;
  constexpr int kBlock = 64;                                // of the depth, per choice of address
  constexpr int kLines = 2 * kPanel * int{sizeof(W)} / 64;  // of two steps
  Reg sum[V::kChains][kRows][kRegs];
  for (int c = 0; c < V::kChains; ++c) {
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kRegs; ++i) sum[c][r][i] = V::zero();
    }
  }
  for (std::int64_t begin = 0; begin < depth; begin += kBlock) {
    const std::int64_t end = begin + kBlock < depth ? begin + kBlock : depth;
    const char* ahead = ahead_of(reinterpret_cast<const char*>(w), reading);
    for (std::int64_t k = begin; k < end; k += 2) {
      for (int i = 0; i < kLines; ++i) __builtin_prefetch(ahead + 64 * i);
      ahead += 64 * kLines;
      for (int c = 0; c < 2; ++c) {
        Reg weight[kRegs];
        V::panel(weight, w);
        w += kPanel;
        for (int r = 0; r < kRows; ++r) {
          const Reg value = V::set(x[r * x_stride + k + c]);
          Reg* const to = sum[c % V::kChains][r];
          for (int i = 0; i < kRegs; ++i) to[i] = V::fma(weight[i], value, to[i]);
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kRegs; ++i) {
      Reg y = sum[0][r][i];
      for (int c = 1; c < V::kChains; ++c) y = V::add(y, sum[c][r][i]);
      V::store(out[r] + i * V::kWidth, y);
    }
  }
}

// finish(row, out) for every row of x, `out` being its 32 outputs of the panel `index` without
// scale and bias.
template <class V, class W, class F>
inline void each_row(const Matrix& m, std::int64_t index, const float* x, std::int64_t x_stride,
                     std::int64_t rows, Reading reading, const F& finish) {
  const W* w = reinterpret_cast<const W*>(m.panel(index));
  const std::int64_t depth = even(m.depth);
  float out[V::kMost][kPanel];
  for (std::int64_t row = 0; row < rows; row += V::kMost) {
    const float* from = x + row * x_stride;
    const int count = rows - row < V::kMost ? static_cast<int>(rows - row) : V::kMost;
    if (count == 1) multiply_panel<V, 1>(out, w, from, x_stride, depth, reading);
    if (count == 2) multiply_panel<V, 2>(out, w, from, x_stride, depth, reading);
    if constexpr (V::kMost > 2) {
      if (count == 3) multiply_panel<V, 3>(out, w, from, x_stride, depth, reading);
      if (count == 4) multiply_panel<V, 4>(out, w, from, x_stride, depth, reading);
    }
    for (int r = 0; r < count; ++r) finish(row + r, out[r]);
  }
}

// finish(row, y) for every row of x: y = W x + b, the 32 outputs of the panel `index`.
template <class V, class F>
inline void panel_rows(const Matrix& m, std::int64_t index, const float* x, std::int64_t x_stride,
                       std::int64_t rows, Reading reading, const F& finish) {
  const auto whole = [&](std::int64_t row, float* y) {
    for (int i = 0; i < kPanel; i += V::kWidth) {
      auto v = V::load(y + i);
      if (m.scale != nullptr) v = V::mul(v, V::load(m.scale + index * kPanel + i));
      if (m.bias != nullptr) v = V::add(v, V::load(m.bias + index * kPanel + i));
      V::store(y + i, v);
    }
    finish(row, y);
  };
  if (m.stored == Stored::kFloat32) {
    each_row<V, float>(m, index, x, x_stride, rows, reading, whole);
  } else if (m.stored == Stored::kBFloat16) {
    each_row<V, BFloat16>(m, index, x, x_stride, rows, reading, whole);
  } else if (m.stored == Stored::kFloat16) {
    each_row<V, Float16>(m, index, x, x_stride, rows, reading, whole);
  } else {
    each_row<V, std::int8_t>(m, index, x, x_stride, rows, reading, whole);
  }
}

}  // namespace vivace::cpu
