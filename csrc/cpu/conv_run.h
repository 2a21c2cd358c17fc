// SPDX-License-Identifier: Apache-2.0
// How a call of the conv1d family is checked, split into pieces of work and run on threads. No
// piece splits a sum, so the result does not depend on the split.
#pragma once

#include <optional>

#include "core/check.h"
#include "core/isa.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/conv.h"
#include "cpu/conv_pack.h"

namespace vivace::cpu {

// The loops for this machine and these products; throws where there are none.
inline const Loops& loops_for(int products) {
  const Loops* found = nullptr;
  if (static_cast<Products>(products) == Products::kFloat32) {
    found = isa::best<const Loops*>(
        {{isa::kAvx2, &avx2::conv_float32}, {isa::kAvx512, &avx512::conv_float32}});
  } else if (static_cast<Products>(products) == Products::kBFloat16) {
    found = isa::best<const Loops*>({{isa::kAmx, &amx::conv_bfloat16}});
  }
  check(found != nullptr, "conv1d family: this CPU has no kernel for these products");
  return *found;
}

// Packed weights: so many bytes, one after the other.
inline bool is_packed(const Tensor& t, std::int64_t bytes) {
  return t.dtype == DType::kUInt8 && t.contiguous() && t.numel() == bytes;
}

// The input of a call, checked.
inline Input input_of(const Tensor& x, const std::optional<Tensor>& alpha,
                      const std::optional<Tensor>& lengths, int activation, double slope,
                      bool reflect) {
  check(x.ndim == 3 && is_float(x.dtype) && dense_frames(x),
        "conv1d family: x must be (B, T, C) of a float dtype with dense frames");
  check(x.shape[1] >= 1 && x.shape[1] < (1 << 30) && x.shape[2] >= 1 && x.shape[2] < (1 << 20),
        "conv1d family: x is empty or too large");
  check(is_vector(alpha, x.shape[2], DType::kFloat32),
        "conv1d family: alpha must be (C_in,) float32");
  check(is_vector(lengths, x.shape[0], DType::kInt64), "conv1d family: lengths must be (B,) int64");
  const auto kind = static_cast<Activation>(activation);
  check((kind == Activation::kSnake) == alpha.has_value(), "conv1d family: alpha belongs to Snake");
  return {x.data,
          x.dtype,
          x.shape[0] > 1 ? x.stride[0] : 0,
          static_cast<int>(x.shape[2]),
          static_cast<int>(x.shape[1]),
          data_of<std::int64_t>(lengths),
          kind,
          static_cast<float>(slope),
          data_of<float>(alpha),
          reflect};
}

// How rows and blocks of columns are dealt out: pieces of `rows` rows and `blocks` blocks.
struct Split {
  int rows, blocks;
  int row_pieces, block_pieces;
};

inline Split split(const Conv& conv, std::int64_t clips, const Loops& loops, int threads) {
  const int group = loops.row_group, all_blocks = parts(conv.columns, kBlock);
  int rows = loops.good_rows(conv), blocks = all_blocks;
  threads = usable_threads(threads);
  if (clips * parts(conv.rows, rows) < threads) {
    if (conv.rows >= 4 * group * threads) {
      rows = parts(parts(conv.rows, threads), group) * group;
    } else {
      blocks = parts(all_blocks, threads);
    }
  } else if (clips == 1 && parts(conv.rows, rows) < 8 * threads) {
    // Few pieces: as many for each thread, of one size.
    const int pieces = parts(parts(conv.rows, rows), threads) * threads;
    rows = parts(parts(conv.rows, pieces), group) * group;
  }
  return {rows, blocks, parts(conv.rows, rows), parts(all_blocks, blocks)};
}

// f(part) for all pieces, on threads.
template <class F>
void for_parts(const Conv& conv, std::int64_t clips, const Split& s, int threads, const F& f) {
  const int all_blocks = parts(conv.columns, kBlock);
  parallel_for(threads, clips * s.row_pieces * s.block_pieces, [&](std::int64_t i) {
    const int block = static_cast<int>(i % s.block_pieces) * s.blocks;
    const int row = static_cast<int>(i / s.block_pieces % s.row_pieces) * s.rows;
    Part part{static_cast<int>(i / s.block_pieces / s.row_pieces), row, conv.rows - row, block,
              all_blocks - block};
    if (part.rows > s.rows) part.rows = s.rows;
    if (part.blocks > s.blocks) part.blocks = s.blocks;
    f(part);
  });
}

inline void run(const Conv& conv, std::int64_t clips, int products, int threads) {
  const Loops& loops = loops_for(products);
  const Split s = split(conv, clips, loops, threads);
  expect_writes(conv.out.data, clips * conv.out.size * size_of(conv.out.dtype));
  for_parts(conv, clips, s, threads, [&](const Part& part) { loops.conv(conv, part); });
}

}  // namespace vivace::cpu
