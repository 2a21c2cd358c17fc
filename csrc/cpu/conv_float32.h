// SPDX-License-Identifier: Apache-2.0
// The conv1d family with float32 products: a register tile of rows × 2 vectors of columns, each
// element the same chain of fused multiply-adds. It does not depend on the tile, so neither do the
// bits on length, batch, threads or the pieces of a stream.
//
// Staged rows are (rows, C) float32, so that a tap is an offset; weights are read once per
// register tile, as one forward stream. A result of one column is a dot product instead.
#pragma once

#include <type_traits>

#include "core/scratch.h"
#include "cpu/conv_stage.h"
#include "cpu/conv_store.h"

namespace vivace::cpu {

template <class V>
struct Float32Conv {
  using Reg = typename V::Reg;
  static constexpr int kColumns = 2 * V::kWidth;  // of a register tile

  // The factors of a product: staged rows and a block of packed weights.
  struct Factors {
    const float* rows;
    std::int64_t row_step, tap_step;  // in floats
    int taps, channels;
    const float* weights;  // [tap][channel][kBlock], at the first column of the tile
  };

  // All taps pass over so many channels of a tile's rows, which then come from L1 but once.
  static constexpr int kChannels = 64;
  // A long chain of float32 additions loses digits: after so many products its sum is put aside.
  static constexpr int kChain = 256;

  // Floats from row to row of a staged piece: an odd number of cache lines, so that the rows of a
  // tile fall on different sets of L1.
  [[gnu::always_inline]] static std::int64_t row_floats(int channels) {
    return channels < 32 ? channels : ((channels + 15) / 16 | 1) * 16;
  }

  template <int kRows, class Finish>
  static void tile(const Factors& f, std::int64_t row, int column, const Finish& finish) {
    Reg sums[kRows][2], totals[kRows][2];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sums[r][0] = sums[r][1] = V::zero();
      totals[r][0] = totals[r][1] = V::zero();
    }
    int chain = 0;
    for (int first = 0; first < f.channels; first += kChannels) {
      const int end = f.channels - first < kChannels ? f.channels : first + kChannels;
      for (int tap = 0; tap < f.taps; ++tap) {
        const float* w = f.weights + (std::int64_t{tap} * f.channels + first) * kBlock;
        // Three pointers and four multiples of the step stay in registers; fourteen would not.
        const float* from = f.rows + row * f.row_step + tap * f.tap_step;
        const float *from5 = from + 5 * f.row_step, *from10 = from5 + 5 * f.row_step;
        for (int c = first; c < end; ++c, w += kBlock) {
          const Reg w0 = V::load(w), w1 = V::load(w + V::kWidth);
#pragma GCC unroll 16
          for (int r = 0; r < kRows; ++r) {
            const float* group = r < 5 ? from : r < 10 ? from5 : from10;
            const Reg x = V::set(group[r % 5 * f.row_step + c]);
            sums[r][0] = V::fma(x, w0, sums[r][0]);
            sums[r][1] = V::fma(x, w1, sums[r][1]);
          }
        }
        chain += end - first;
        if (chain < kChain) continue;
        chain = 0;
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          for (int i = 0; i < 2; ++i) {
            totals[r][i] = V::add(totals[r][i], sums[r][i]);
            sums[r][i] = V::zero();
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      finish(V::add(totals[r][0], sums[r][0]), row + r, column);
      finish(V::add(totals[r][1], sums[r][1]), row + r, column + V::kWidth);
    }
  }

  // Rows [0, rows) of the staged piece times the columns of blocks [block, block + blocks).
  template <class Finish>
  static void multiply(Factors f, const float* packed, int columns, const Part& part,
                       const Finish& finish) {
    const std::int64_t block_size = std::int64_t{f.taps} * f.channels * kBlock;
    for (int block = part.block; block < part.block + part.blocks; ++block) {
      for (int half = 0; half < kBlock; half += kColumns) {
        const int column = block * kBlock + half;
        if (column >= columns) break;
        f.weights = packed + block * block_size + half;
        int row = 0;
        for (; row + V::kRows <= part.rows; row += V::kRows) tile<V::kRows>(f, row, column, finish);
        for (; row + 4 <= part.rows; row += 4) tile<4>(f, row, column, finish);
        for (; row < part.rows; ++row) tile<1>(f, row, column, finish);
      }
    }
  }

  // One column: each row is a dot product over taps and channels. weights: [tap][channel].
  static void dots(const Factors& f, int rows, float* sums) {
    const int whole = f.channels / V::kWidth * V::kWidth, rest = f.channels - whole;
    for (int row = 0; row < rows; ++row) {
      Reg sum[2] = {V::zero(), V::zero()};
      for (int tap = 0; tap < f.taps; ++tap) {
        const float* x = f.rows + row * f.row_step + tap * f.tap_step;
        const float* w = f.weights + std::int64_t{tap} * f.channels;
        int c = 0;
        for (; c + 2 * V::kWidth <= whole; c += 2 * V::kWidth) {
          sum[0] = V::fma(V::load(x + c), V::load(w + c), sum[0]);
          sum[1] = V::fma(V::load(x + c + V::kWidth), V::load(w + c + V::kWidth), sum[1]);
        }
        if (c < whole) sum[0] = V::fma(V::load(x + c), V::load(w + c), sum[0]);
        if (rest > 0) {
          sum[1] = V::fma(V::load(x + whole, rest), V::load(w + whole, rest), sum[1]);
        }
      }
      sums[row] = V::sum(V::add(sum[0], sum[1]));
    }
  }

  static std::int64_t staged_floats(const Conv& conv, const Part& part) {
    return conv.span(part.rows) * row_floats(conv.in.channels);
  }

  static Factors stage_rows(const Conv& conv, const Part& part, float* to) {
    const int channels = conv.in.channels;
    const std::int64_t step = row_floats(channels);
    stage<V, 2, false>(conv, part, conv.span(part.rows),
                       [&](std::int64_t row, int channel, const Reg* v, int count) {
                         float* at = to + row * step + channel;
                         for (int i = 0; i < 2; ++i, at += V::kWidth, count -= V::kWidth) {
                           if (count >= V::kWidth) {
                             V::store(at, v[i]);
                           } else if (count > 0) {
                             V::store(at, v[i], count);
                           }
                         }
                       });
    return {to, conv.stride * step, conv.dilation * step, conv.taps, channels, nullptr};
  }

  static int good_rows(const Conv& conv) {
    // Staged rows of 1 MB at most, half of a small L2; whole register tiles.
    const std::int64_t fitting = (1 << 18) / (std::int64_t{conv.in.channels} * conv.stride);
    const int wanted = conv.columns == 1 ? 2048 : 12 * V::kRows;
    const int rows = fitting < wanted ? static_cast<int>(fitting) : wanted;
    return rows < V::kRows ? V::kRows : rows / V::kRows * V::kRows;
  }

  static void conv(const Conv& conv, const Part& part) {
    auto* staged =
        static_cast<float*>(scratch((staged_floats(conv, part) + part.rows + V::kWidth) * 4));
    Factors f = stage_rows(conv, part, staged);
    const auto* packed = static_cast<const float*>(conv.packed);
    dispatch_storage(conv.out.dtype, [&](auto* type) {
      using Storage = std::remove_pointer_t<decltype(type)>;
      const Store<V, Storage> store(conv.out, conv.columns, part.clip);
      if (conv.columns == 1) {
        f.weights = packed;
        float* sums = staged + staged_floats(conv, part);
        dots(f, part.rows, sums);
        for (int row = 0; row < part.rows; row += V::kWidth) {
          const int count = part.rows - row < V::kWidth ? part.rows - row : V::kWidth;
          store.column(V::load(sums + row), part.row + row, count);
        }
        return;
      }
      multiply(f, packed, conv.columns, part,
               [&](Reg sum, std::int64_t row, int column) { store(sum, part.row + row, column); });
    });
  }

  // Rows between the two products of a unit, as they are staged.
  static std::int64_t middle_bytes(int channels, int rows) {
    return rows * row_floats(channels) * 4;
  }

  static void first(const Unit& unit, const Part& part, float* staged, float* middle) {
    const int channels = unit.first.columns;
    Factors f = stage_rows(unit.first, part, staged);
    const auto* packed = static_cast<const float*>(unit.first.packed);
    multiply(f, packed, channels, part, [&](Reg sum, std::int64_t row, int column) {
      const int count = channels - column;
      if (count <= 0) return;
      const float* bias = unit.first.out.bias;
      sum = activate<V, Activation::kSnake, false>(V::add(sum, V::load(bias + column)),
                                                   V::load(unit.alpha + column),
                                                   V::load(unit.inverse + column), 0.0f);
      float* to = middle + row * row_floats(channels) + column;
      count >= V::kWidth ? V::store(to, sum) : V::store(to, sum, count);
    });
  }

  static void second(const Unit& unit, const Part& part, const float* middle) {
    const int channels = unit.first.columns;
    const Factors f{middle, row_floats(channels), 0, 1, channels, nullptr};
    const auto* packed = static_cast<const float*>(unit.packed);
    dispatch_storage(unit.out.dtype, [&](auto* type) {
      using Storage = std::remove_pointer_t<decltype(type)>;
      const Store<V, Storage> store(unit.out, channels, part.clip);
      multiply(f, packed, channels, part,
               [&](Reg sum, std::int64_t row, int column) { store(sum, part.row + row, column); });
    });
  }

  static void unit(const Unit& unit, const Part& part) {
    const std::int64_t staged = staged_floats(unit.first, part);
    auto* memory =
        static_cast<float*>(scratch(staged * 4 + middle_bytes(unit.first.columns, part.rows)));
    first(unit, part, memory, memory + staged);
    second(unit, part, memory + staged);
  }

  static void unit_first(const Unit& unit, const Part& part, void* middle) {
    auto* staged = static_cast<float*>(scratch(staged_floats(unit.first, part) * 4));
    const std::int64_t before = part.row * row_floats(unit.first.columns);
    first(unit, part, staged, static_cast<float*>(middle) + before);
  }

  static void unit_second(const Unit& unit, const Part& part, const void* middle) {
    const std::int64_t before = part.row * row_floats(unit.first.columns);
    second(unit, part, static_cast<const float*>(middle) + before);
  }

  static constexpr Loops loops{V::kRows,     good_rows,  conv,       unit,
                               middle_bytes, unit_first, unit_second};
};

}  // namespace vivace::cpu
