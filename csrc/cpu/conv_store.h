// SPDX-License-Identifier: Apache-2.0
// The epilogue of a product: + bias, + residual, tanh, and the way into y.
#pragma once

#include "cpu/activation.h"
#include "cpu/conv.h"

namespace vivace::cpu {

// Writes the registers' worth of a row's result into y. Elements of a row that lie in front of the
// clip (cropped), behind its end or past the last column are not written.
template <class V, class Storage>
struct Store {
  static constexpr int kAhead = 32;  // rows whose lines are fetched before they are written

  Storage* y;
  const Storage* residual;
  const float* bias;
  std::int64_t size, crop;
  int columns;
  bool tanh_;

  Store(const Output& out, int all_columns, int clip)
      : y(static_cast<Storage*>(out.data) + clip * out.size),
        residual(out.residual == nullptr
                     ? nullptr
                     : static_cast<const Storage*>(out.residual) + clip * out.residual_clip),
        bias(out.bias),
        size(out.size),
        crop(out.crop),
        columns(all_columns),
        tanh_(out.tanh) {}

  void operator()(typename V::Reg sum, std::int64_t row, int column) const {
    const std::int64_t at = row * columns + column - crop;
    std::int64_t count = columns - column < V::kWidth ? columns - column : V::kWidth;
    if (size - at < count) count = size - at;
    if (count <= 0) return;
    if (at < 0) return edge(sum, at, column, static_cast<int>(count));
    if (count == V::kWidth) {
      if (bias != nullptr) sum = V::add(sum, V::load(bias + column));
      if (residual != nullptr) sum = V::add(sum, V::load(residual + at));
      if (tanh_) sum = tanh<V>(sum);
      return V::store(y + at, sum);
    }
    const int n = static_cast<int>(count);
    if (bias != nullptr) sum = V::add(sum, V::load(bias + column, n));
    if (residual != nullptr) sum = V::add(sum, V::load(residual + at, n));
    if (tanh_) sum = tanh<V>(sum);
    V::store(y + at, sum, n);
  }

  // A whole block of columns.
  [[gnu::always_inline]] void block(const float* sums, std::int64_t row, int column) const {
    const std::int64_t at = row * columns + column - crop;
    const bool inside = at >= 0 && at + kBlock <= size && column + kBlock <= columns && !tanh_;
#pragma GCC unroll 4
    for (int i = 0; i < kBlock; i += V::kWidth) {
      typename V::Reg sum = V::load(sums + i);
      if (!inside) {
        (*this)(sum, row, column + i);
        continue;
      }
      if (bias != nullptr) sum = V::add(sum, V::load(bias + column + i));
      if (residual != nullptr) sum = V::add(sum, V::load(residual + at + i));
      V::store(y + at + i, sum);
      __builtin_prefetch(y + at + i + std::int64_t{kAhead} * columns, 0, 2);
    }
  }

  // `count` rows of a result of one column, from `row` on.
  void column(typename V::Reg sum, std::int64_t row, int count) const {
    const std::int64_t at = row - crop;
    if (size - at < count) count = static_cast<int>(size - at);
    if (bias != nullptr) sum = V::add(sum, V::set(bias[0]));
    if (residual != nullptr && count > 0) sum = V::add(sum, V::load(residual + at, count));
    if (tanh_) sum = tanh<V>(sum);
    copy(sum, at, count);
  }

 private:
  // A register that the crop cuts in two; only a transposed convolution crops, which has no
  // residual.
  void edge(typename V::Reg sum, std::int64_t at, int column, int count) const {
    if (bias != nullptr) sum = V::add(sum, V::load(bias + column, count));
    if (tanh_) sum = tanh<V>(sum);
    copy(sum, at, count);
  }

  void copy(typename V::Reg value, std::int64_t at, int count) const {
    Storage part[V::kWidth];
    V::store(part, value);
    for (int i = at < 0 ? static_cast<int>(-at) : 0; i < count; ++i) y[at + i] = part[i];
  }
};

}  // namespace vivace::cpu
