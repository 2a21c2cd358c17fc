// SPDX-License-Identifier: Apache-2.0
// conv1d of one input channel (the first layer of an encoder): a handful of products per output, so
// the time is that of writing y. Tensor cores would multiply zeros.
#pragma once

#include "core/conv1d_call.cuh"

namespace vivace::conv {

constexpr int kFirstFrames = 128;  // of outputs per block
constexpr int kFirstThreads = 256;
constexpr int kFirstAtOnce = 4;  // frames per thread: they share the weights that it reads

// Dynamic shared memory: the weights (tap, column) in float32 and the activated frames.
inline std::int64_t first_shared_bytes(const Conv1dGeometry& g, int packed_columns) {
  const std::int64_t frames =
      (kFirstFrames - 1) * std::int64_t{g.stride} + 1 + (g.taps - 1) * std::int64_t{g.dilation};
  return 4 * (std::int64_t{g.taps} * packed_columns + frames);
}

// One block per kFirstFrames frames of a clip. A thread computes 16 bytes of kFirstAtOnce frames.
template <class T>
__global__ void __launch_bounds__(kFirstThreads)
    first_kernel(Conv1dCall<T> call, Conv1dGeometry g) {
  constexpr int kSize = kPerPlane<T>;
  DYNAMIC_SHARED(float, shared);
  float* const weights = shared;
  float* const window = weights + g.taps * call.packed_columns;
  const int blocks = (g.frames_out + kFirstFrames - 1) / kFirstFrames;
  const int clip = blockIdx.x / blocks;
  const int frame0 = blockIdx.x % blocks * kFirstFrames;

  const T* packed = reinterpret_cast<const T*>(call.packed);
  for (int i = threadIdx.x; i < g.taps * call.packed_columns; i += kFirstThreads) {
    const int tap = i / call.packed_columns;
    const std::int64_t row = static_cast<std::int64_t>(tap) * call.packed_planes;
    weights[i] = to_float(packed[(row * call.packed_columns + i % call.packed_columns) * kSize]);
  }
  Frames frames = call.frames(g, clip, frame0);
  frames.stride = 1;
  const T* x = call.x + clip * call.x_clip;
  const bool snaked = call.prologue.activation == Activation::kSnake;
  const SnakeTerm term = snake_term(snaked ? call.prologue.alpha[0] : 0.0f);
  const int used = (kFirstFrames - 1) * g.stride + 1 + (g.taps - 1) * g.dilation;
  for (int i = threadIdx.x; i < used; i += kFirstThreads) {
    const int frame = frames.at(i);
    const float value = frame < 0 ? 0.0f : to_float(x[frame]);
    window[i] = call.prologue.apply(value, term);
  }
  __syncthreads();

  constexpr int kApart = kFirstFrames / kFirstAtOnce;
  const int pieces = call.packed_columns / kSize;
  T* y = call.y + (static_cast<std::int64_t>(clip) * g.frames_out + frame0) * g.channels_out;
  for (int i = threadIdx.x; i < pieces * kApart; i += kFirstThreads) {
    const int channel = i % pieces * kSize;
    const int first = i / pieces;
    float sum[kFirstAtOnce][kSize] = {};
    for (int tap = 0; tap < g.taps; ++tap) {
      const float* w = weights + tap * call.packed_columns + channel;
#pragma unroll
      for (int f = 0; f < kFirstAtOnce; ++f) {
        const float value = window[(first + f * kApart) * g.stride + tap * g.dilation];
#pragma unroll
        for (int e = 0; e < kSize; ++e) sum[f][e] = fmaf(w[e], value, sum[f][e]);
      }
    }
#pragma unroll
    for (int f = 0; f < kFirstAtOnce; ++f) {
      const int frame = first + f * kApart;
      if (frame0 + frame >= g.frames_out) break;
      Pack<T> result;
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const bool exists = call.bias != nullptr && channel + e < g.channels_out;
        result.v[e] =
            from_float<T>(exists ? __fadd_rn(sum[f][e], call.bias[channel + e]) : sum[f][e]);
      }
      T* to = y + static_cast<std::int64_t>(frame) * g.channels_out + channel;
      if (call.aligned_out && channel + kSize <= g.channels_out) {
        store_pack(to, result);
      } else {
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          if (channel + e < g.channels_out) to[e] = result.v[e];
        }
      }
    }
  }
}

}  // namespace vivace::conv
