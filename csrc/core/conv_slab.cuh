// SPDX-License-Identifier: Apache-2.0
// The slab: the frames of x that a tile of outputs needs, for one step's channels, in planes of
// shared memory. Every thread activates the pieces that it copied, so no barrier stands between the
// two.
#pragma once

#include "core/conv_activation.cuh"
#include "core/conv_tile.cuh"
#include "core/pack.cuh"

namespace vivace::conv {

// Which frame of a clip stands in which row of a slab.
struct Frames {
  int first;   // of row 0; may be negative or past the end
  int stride;  // from row to row
  int length;  // valid frames of this clip
  bool reflect;

  // The frame, or -1 where zeros stand.
  __device__ int at(int row) const {
    int frame = first + row * stride;
    if (reflect && length > 0) {
      frame = frame < 0 ? -frame : frame;
      if (frame >= length) frame = 2 * (length - 1) - frame;
      return frame < 0 ? 0 : frame;
    }
    return frame >= 0 && frame < length ? frame : -1;
  }
};

// Rows of a plane: 2 mod 8, so that the pieces of 2 rows x 4 planes, which 8 neighbouring threads
// copy and activate, fall on all 32 banks once.
inline int slab_rows(int needed) { return (needed + 5) / 8 * 8 + 2; }

// Starts the copy of `rows` rows of channels [channel0, channel0 + kChunk). x is the clip, its
// frames `channels` apart. Where rows of x are not multiples of 16 bytes, kAligned is false and
// elements are copied one by one.
template <class T, int kThreads, bool kAligned>
__device__ void stage_slab(char* slab, int plane_bytes, int rows, const T* x, int channels,
                           int channel0, const Frames& frames) {
  constexpr int kSize = kPerPlane<T>;
  const int plane = threadIdx.x % kPlanes;
  const int channel = channel0 + plane * kSize;
  char* to = slab + plane * plane_bytes;
#pragma unroll 1
  for (int row = threadIdx.x / kPlanes; row < rows; row += kThreads / kPlanes) {
    const int frame = frames.at(row);
    const T* from = x + static_cast<std::int64_t>(frame) * channels + channel;
    if constexpr (kAligned) {
      const bool in = frame >= 0 && channel < channels;
      ptx::cp_async16(to + row * kPlaneBytes, in ? from : x, in);
    } else {
      Pack<T> pack;
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        pack.v[e] = frame >= 0 && channel + e < channels ? from[e] : from_float<T>(0.0f);
      }
      store_pack(reinterpret_cast<T*>(to + row * kPlaneBytes), pack);
    }
  }
}

// f(value, channel of the piece) for every element that this thread staged, rounded in place.
template <class T, int kThreads, class F>
__device__ void map_pieces(char* slab, int plane_bytes, int rows, const F& f) {
  T* plane = reinterpret_cast<T*>(slab + threadIdx.x % kPlanes * plane_bytes);
#pragma unroll 1
  for (int row = threadIdx.x / kPlanes; row < rows; row += kThreads / kPlanes) {
    Pack<T> pack = load_pack(plane + row * kPerPlane<T>);
#pragma unroll
    for (int e = 0; e < kPerPlane<T>; ++e) {
      pack.v[e] = round_factor<T>(f(to_float(pack.v[e]), e));
    }
    store_pack(plane + row * kPerPlane<T>, pack);
  }
}

// Activates this thread's pieces, once its copies have landed. terms: of all channels.
template <class T, int kThreads>
__device__ void activate_slab(char* slab, int plane_bytes, int rows, const Prologue& prologue,
                              const SnakeTerm* terms, int channel0) {
  if (prologue.activation == Activation::kSnake) {
    SnakeTerm mine[kPerPlane<T>];
    const int channel = channel0 + threadIdx.x % kPlanes * kPerPlane<T>;
#pragma unroll
    for (int e = 0; e < kPerPlane<T>; ++e) mine[e] = terms[channel + e];
    map_pieces<T, kThreads>(slab, plane_bytes, rows,
                            [&](float x, int e) { return snake(x, mine[e]); });
  } else if (prologue.activation == Activation::kElu) {
    map_pieces<T, kThreads>(slab, plane_bytes, rows, [](float x, int) { return elu(x); });
  } else if (prologue.activation == Activation::kLeakyRelu) {
    const float slope = prologue.slope;
    map_pieces<T, kThreads>(slab, plane_bytes, rows,
                            [=](float x, int) { return leaky_relu(x, slope); });
  } else if (sizeof(T) == 4) {  // only the rounding to tf32
    map_pieces<T, kThreads>(slab, plane_bytes, rows, [](float x, int) { return x; });
  }
}

}  // namespace vivace::conv
