// SPDX-License-Identifier: Apache-2.0
// Staging: the rows of x that a piece of work reads, activated once per element. Where each row
// goes, and in which format, is the product's business.
#pragma once

#include <type_traits>

#include "cpu/activation.h"
#include "cpu/conv.h"
#include "cpu/storage.h"

namespace vivace::cpu {

// Which frame of a clip stands in which row of the staged piece; as core/conv_slab.cuh.
struct Frames {
  std::int64_t first;  // of row 0; may be negative or past the end
  std::int64_t length;
  bool reflect;

  // The frame, or -1 where zeros stand.
  [[gnu::always_inline]] std::int64_t at(std::int64_t row) const {
    std::int64_t frame = first + row;
    if (reflect && length > 0) {
      frame = frame < 0 ? -frame : frame;
      if (frame >= length) frame = 2 * (length - 1) - frame;
      return frame < 0 ? 0 : frame;
    }
    return frame >= 0 && frame < length ? frame : -1;
  }
};

[[gnu::always_inline]] inline Frames frames_of(const Conv& conv, const Part& part) {
  std::int64_t length = conv.in.frames;
  if (conv.in.lengths != nullptr && conv.in.lengths[part.clip] < length) {
    length = conv.in.lengths[part.clip];
  }
  return {std::int64_t{part.row} * conv.stride - conv.pad_left, length, conv.in.reflect};
}

// Calls put(row, channel, registers, count) for every row of the piece and every `kRegs` registers
// of its channels; `count` of these channels exist. A row outside the clip is put as zeros.
template <class V, int kRegs, bool kShort, Activation kKind, class Storage>
struct Stage {
  using Reg = typename V::Reg;
  static constexpr int kStep = kRegs * V::kWidth;
  static constexpr int kAhead = 32;  // rows: more than the latency of the last-level cache

  const Input& in;
  const Storage* clip;
  int channel, count;
  Reg alpha[kRegs], inverse[kRegs];

  Stage(const Input& input, const Storage* from, int first)
      : in(input), clip(from), channel(first) {
    count = in.channels - channel < kStep ? in.channels - channel : kStep;
    for (int i = 0; i < kRegs; ++i) {
      alpha[i] = inverse[i] = V::zero();
      if constexpr (kKind == Activation::kSnake) {
        alpha[i] = load<false>(in.alpha + channel, i);
        inverse[i] = snake_scale<V>(alpha[i]);
      }
    }
  }

  template <bool kWhole, class Element>
  [[gnu::always_inline]] Reg load(const Element* from, int i) const {
    const int n = count - i * V::kWidth;
    if (kWhole || n >= V::kWidth) return V::load(from + i * V::kWidth);
    return n > 0 ? V::load(from + i * V::kWidth, n) : V::zero();
  }

  template <bool kWhole, class Put>
  [[gnu::always_inline]] void row(std::int64_t row, std::int64_t frame, const Put& put) const {
    Reg v[kRegs];
    const Storage* from = clip + frame * in.channels + channel;
#pragma GCC unroll 4
    for (int i = 0; i < kRegs; ++i) {
      // Rows apart defeat the hardware's prefetch; every line is read once.
      __builtin_prefetch(from + std::int64_t{kAhead} * in.channels + i * V::kWidth, 0, 2);
      const Reg x = load<kWhole>(from, i);
      v[i] = activate<V, kKind, kShort>(x, alpha[i], inverse[i], in.slope);
    }
    put(row, channel, v, kWhole ? kStep : count);
  }

  template <class Put>
  void zeros(std::int64_t row, std::int64_t end, const Put& put) const {
    Reg v[kRegs];
    for (int i = 0; i < kRegs; ++i) v[i] = V::zero();
    for (; row < end; ++row) put(row, channel, v, count);
  }

  template <class Put>
  void run(const Frames& frames, std::int64_t rows, const Put& put) const {
    if (frames.reflect) {
      for (std::int64_t r = 0; r < rows; ++r) {
        frames.at(r) < 0 ? zeros(r, r + 1, put) : row<false>(r, frames.at(r), put);
      }
      return;
    }
    std::int64_t begin = frames.first < 0 ? -frames.first : 0;
    if (begin > rows) begin = rows;
    std::int64_t end = frames.length - frames.first;
    end = end < begin ? begin : end > rows ? rows : end;
    zeros(0, begin, put);
    if (count == kStep) {
      for (std::int64_t r = begin; r < end; ++r) row<true>(r, frames.first + r, put);
    } else {
      for (std::int64_t r = begin; r < end; ++r) row<false>(r, frames.first + r, put);
    }
    zeros(end, rows, put);
  }
};

template <class V, int kRegs, bool kShort, Activation kKind, class Storage, class Put>
inline void stage_as(const Conv& conv, const Part& part, std::int64_t rows, const Put& put) {
  const Frames frames = frames_of(conv, part);
  const auto* clip = static_cast<const Storage*>(conv.in.data) + part.clip * conv.in.clip;
  for (int channel = 0; channel < conv.in.channels; channel += kRegs * V::kWidth) {
    Stage<V, kRegs, kShort, kKind, Storage>(conv.in, clip, channel).run(frames, rows, put);
  }
}

template <class V, int kRegs, bool kShort, class Put>
inline void stage(const Conv& conv, const Part& part, std::int64_t rows, const Put& put) {
  dispatch_storage(conv.in.dtype, [&](auto* type) {
    using Storage = std::remove_pointer_t<decltype(type)>;
    switch (conv.in.activation) {
      case Activation::kSnake:
        return stage_as<V, kRegs, kShort, Activation::kSnake, Storage>(conv, part, rows, put);
      case Activation::kElu:
        return stage_as<V, kRegs, kShort, Activation::kElu, Storage>(conv, part, rows, put);
      case Activation::kLeakyRelu:
        return stage_as<V, kRegs, kShort, Activation::kLeakyRelu, Storage>(conv, part, rows, put);
      default:
        return stage_as<V, kRegs, kShort, Activation::kNone, Storage>(conv, part, rows, put);
    }
  });
}

}  // namespace vivace::cpu
