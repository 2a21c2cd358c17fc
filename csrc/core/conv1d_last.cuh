// SPDX-License-Identifier: Apache-2.0
// conv1d of one output channel (the last layer of a decoder): the time is that of reading x. Each
// frame is read and activated once and multiplied with the weights of all taps; outputs then add
// the taps' parts.
#pragma once

#include "core/conv1d_call.cuh"

namespace vivace::conv {

constexpr int kLastTaps = 8;      // at most
constexpr int kLastFrames = 256;  // of x per block
constexpr int kLastThreads = 128;
constexpr int kLastAtOnce = 4;  // frames per thread: they share the weights that it reads
// Floats of one plane's weights: 4 more than needed put the planes that 4 neighbouring lanes read
// on different banks.
template <class T>
constexpr int kLastPlane = kLastTaps * kPerPlane<T> + 4;

// Dynamic shared memory: Snake terms, weights and the taps' parts (tap, frame).
template <class T>
std::int64_t last_shared_bytes(int planes) {
  return std::int64_t{planes} * (kPerPlane<T> * 8 + kLastPlane<T> * 4) +
         kLastTaps * kLastFrames * 4;
}

// One block per kLastFrames frames of a clip, which give `outputs` frames. Four neighbouring lanes
// share kLastAtOnce frames, a plane of channels each.
template <class T>
__global__ void __launch_bounds__(kLastThreads)
    last_kernel(Conv1dCall<T> call, Conv1dGeometry g, int outputs) {
  constexpr int kSize = kPerPlane<T>;
  DYNAMIC_SHARED(char, shared);
  SnakeTerm* const terms = reinterpret_cast<SnakeTerm*>(shared);
  float* const weights = reinterpret_cast<float*>(terms + call.packed_planes * kSize);
  float* const parts = weights + call.packed_planes * kLastPlane<T>;
  const int blocks = (g.frames_out + outputs - 1) / outputs;
  const int clip = blockIdx.x / blocks;
  const int frame0 = blockIdx.x % blocks * outputs;

  const bool snaked = call.prologue.activation == Activation::kSnake;
  fill_terms(terms, call.prologue.alpha, snaked ? g.channels_in : 0, call.packed_planes * kSize);
  const T* packed = reinterpret_cast<const T*>(call.packed);
  for (int i = threadIdx.x; i < call.packed_planes * kLastTaps * kSize; i += kLastThreads) {
    const int plane = i / (kLastTaps * kSize);
    const int tap = i / kSize % kLastTaps;
    float weight = 0.0f;
    if (tap < g.taps) {
      const std::int64_t row = static_cast<std::int64_t>(tap) * call.packed_planes + plane;
      weight = to_float(packed[row * call.packed_columns * kSize + i % kSize]);
    }
    weights[plane * kLastPlane<T> + i % (kLastTaps * kSize)] = weight;
  }
  __syncthreads();

  const Frames frames = call.frames(g, clip, frame0);
  const T* x = call.x + clip * call.x_clip;
  const int lane = threadIdx.x % 4;
  constexpr int kApart = kLastThreads / 4;
#pragma unroll 1
  for (int first = threadIdx.x / 4; first < kLastFrames; first += kApart * kLastAtOnce) {
    float part[kLastAtOnce][kLastTaps] = {};
#pragma unroll 1
    for (int plane = lane; plane < call.packed_planes; plane += 4) {
      const int channel = plane * kSize;
      Pack<T> pack[kLastAtOnce];
#pragma unroll
      for (int f = 0; f < kLastAtOnce; ++f) {
        const int frame = frames.at(first + f * kApart);
        const T* from = x + static_cast<std::int64_t>(frame) * g.channels_in + channel;
        if (frame >= 0 && call.aligned_in && channel < g.channels_in) {
          pack[f] = load_pack(from);
        } else {
#pragma unroll
          for (int e = 0; e < kSize; ++e) {
            const bool in = frame >= 0 && channel + e < g.channels_in;
            pack[f].v[e] = in ? from[e] : from_float<T>(0.0f);
          }
        }
      }
      float value[kLastAtOnce][kSize];
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const SnakeTerm term = terms[channel + e];
#pragma unroll
        for (int f = 0; f < kLastAtOnce; ++f) {
          value[f][e] = call.prologue.apply(to_float(pack[f].v[e]), term);
        }
      }
      const float* w = weights + plane * kLastPlane<T>;
#pragma unroll
      for (int tap = 0; tap < kLastTaps; ++tap) {
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          const float factor = w[tap * kSize + e];
#pragma unroll
          for (int f = 0; f < kLastAtOnce; ++f) {
            part[f][tap] = fmaf(factor, value[f][e], part[f][tap]);
          }
        }
      }
    }
#pragma unroll
    for (int f = 0; f < kLastAtOnce; ++f) {
#pragma unroll
      for (int tap = 0; tap < kLastTaps; ++tap) {
        float sum = part[f][tap];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        if (tap % 4 == lane) parts[tap * kLastFrames + first + f * kApart] = sum;
      }
    }
  }
  __syncthreads();

  const float bias = call.bias == nullptr ? 0.0f : call.bias[0];
  for (int i = threadIdx.x; i < outputs && frame0 + i < g.frames_out; i += kLastThreads) {
    float sum = 0.0f;
    for (int tap = 0; tap < g.taps; ++tap) sum += parts[tap * kLastFrames + i + tap * g.dilation];
    sum += bias;
    if (call.residual != nullptr) {
      sum += to_float(call.residual[clip * call.residual_clip + frame0 + i]);
    }
    call.y[static_cast<std::int64_t>(clip) * g.frames_out + frame0 + i] =
        from_float<T>(call.tanh ? tanhf(sum) : sum);
  }
}

}  // namespace vivace::conv
