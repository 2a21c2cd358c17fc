// SPDX-License-Identifier: Apache-2.0
// What the host functions of the conv1d family hand to the loops of an instruction set.
//
// All three ops are one product: row r of the result is Σ_j W_j · act(x[r·stride + j·dilation −
// pad_left]). A transposed convolution is two taps with stride·C_out columns, whose rows follow
// each other in y without a gap; a residual unit is two products in a row.
#pragma once

#include <cstdint>

#include "core/conv.h"
#include "core/tensor.h"

namespace vivace::cpu {

constexpr int kBlock = 32;  // columns of a block of packed weights, and channels of a plane

struct Input {
  const void* data;  // (B, T, C), frames dense
  DType dtype;
  std::int64_t clip;  // elements from clip to clip
  int channels, frames;
  const std::int64_t* lengths;  // (B,) or null
  Activation activation;
  float slope;
  const float* alpha;  // (C,) of Snake
  bool reflect;
};

struct Output {
  void* data;  // (B, size), contiguous
  DType dtype;
  std::int64_t size;     // elements of a clip
  std::int64_t crop;     // elements cut in front of the first row
  const float* bias;     // (columns,) or null
  const void* residual;  // like y, or null
  std::int64_t residual_clip;
  bool tanh;
};

struct Conv {
  Input in;
  int taps, stride, dilation, pad_left;
  int rows, columns;
  const void* packed;  // cpu/conv_pack.h
  Output out;

  // Rows of x that `count` rows of the result read.
  [[gnu::always_inline]] std::int64_t span(std::int64_t count) const {
    return (count - 1) * stride + std::int64_t{taps - 1} * dilation + 1;
  }
};

// x + W2 · snake(W1 * snake(x) + b1) + b2. `first.out` holds the bias b1 alone; the rows between
// the two are staged as the second product reads them. b1, alpha and inverse are padded with zeros
// to whole blocks of columns.
struct Unit {
  Conv first;
  const float* alpha;    // of the Snake between the two
  const float* inverse;  // 1 / (alpha + 1e-9)
  const void* packed;    // W2
  Output out;
};

// A piece of work: rows [row, row + rows) of one clip, blocks [block, block + blocks) of columns.
struct Part {
  int clip;
  int row, rows;
  int block, blocks;
};

// The loops of one instruction set for one kind of products.
struct Loops {
  int row_group;  // rows that are computed at once
  // Rows of a piece that keeps the caches busy with the right things.
  int (*good_rows)(const Conv& conv);
  void (*conv)(const Conv& conv, const Part& part);
  // A whole unit for some rows and all columns.
  void (*unit)(const Unit& unit, const Part& part);
  // The same in two steps, for few rows that are split by columns: `middle` takes
  // middle_bytes(channels, rows), the rows of one clip.
  std::int64_t (*middle_bytes)(int channels, int rows);
  void (*unit_first)(const Unit& unit, const Part& part, void* middle);
  void (*unit_second)(const Unit& unit, const Part& part, const void* middle);
};

}  // namespace vivace::cpu

namespace vivace::avx2 {
extern const cpu::Loops conv_float32;
}
namespace vivace::avx512 {
extern const cpu::Loops conv_float32;
}
namespace vivace::amx {
extern const cpu::Loops conv_bfloat16;
}
