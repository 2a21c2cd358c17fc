// SPDX-License-Identifier: Apache-2.0
// Attention of one query over many tokens, split among the warps of a block and among blocks:
// softmax(q·kᵀ) v in one pass, with a running maximum (Milakov & Gimelshein 2018,
// arXiv:1805.02867), and parts that are merged afterwards (Dao et al. 2023, Flash-Decoding).
#pragma once

#include "core/pack.cuh"
#include "core/reduce.cuh"

namespace vivace::attention {

constexpr int kMostDim = 128;  // of a head; a multiple of kHeld
constexpr int kHeld = 8;       // elements of a head per lane
constexpr int kAtOnce = 4;     // tokens per lane whose keys and values are under way together

// What is known of some of the tokens: out / sum is their attention, `top` their largest score.
struct Part {
  float top = -INFINITY;
  float sum = 0.0f;
  float out[kHeld] = {};

  // The factor from this maximum to another one. Without any token yet there is nothing to scale.
  __device__ float factor(float larger) const {
    return top == -INFINITY ? 0.0f : expf(top - larger);
  }
};

template <bool kAligned, class T>
__device__ inline void load_eight(float (&values)[kHeld], const T* from) {
  if constexpr (kAligned) {
    constexpr int kSize = Pack<T>::kSize;
#pragma unroll
    for (int i = 0; i < kHeld; i += kSize) {
      const Pack<T> pack = load_pack(from + i);
#pragma unroll
      for (int e = 0; e < kSize; ++e) values[i + e] = to_float(pack.v[e]);
    }
  } else {
#pragma unroll
    for (int e = 0; e < kHeld; ++e) values[e] = to_float(from[e]);
  }
}

// Adds the tokens begin .. end - 1 that are this warp's to `part`. kLanes neighbouring lanes share
// a token; query: their elements, zero behind the head. keys(token) and values(token) give the
// first element of the head.
template <int kLanes, bool kAligned, class Keys, class Values>
__device__ inline void attend(Part& part, const float (&query)[kHeld], Keys keys, Values values,
                              int begin, int end, int dim) {
  const float scale = 1.0f / sqrtf(static_cast<float>(dim));
  constexpr int kTokens = 32 / kLanes;  // of a warp, side by side
  constexpr int kStep = kTokens * kAtOnce;
  const int warps = blockDim.x / 32;
  const int lane = threadIdx.x % 32;
  const int element = lane % kLanes * kHeld;
  for (int first = begin + threadIdx.x / 32 * kStep; first < end; first += warps * kStep) {
    float key[kAtOnce][kHeld], value[kAtOnce][kHeld];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int token = first + i * kTokens + lane / kLanes;
      const bool in = token < end && element < dim;
#pragma unroll
      for (int e = 0; e < kHeld; ++e) key[i][e] = value[i][e] = 0.0f;
      if (in) {
        load_eight<kAligned>(key[i], keys(token) + element);
        load_eight<kAligned>(value[i], values(token) + element);
      }
    }
    float score[kAtOnce];
    float top = part.top;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      score[i] = 0.0f;
#pragma unroll
      for (int e = 0; e < kHeld; ++e) score[i] = fmaf(query[e], key[i][e], score[i]);
#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2) {
        score[i] += __shfl_xor_sync(kAllLanes, score[i], offset);
      }
      score[i] *= scale;  // not the query: products of round numbers stay exact
      const int token = first + i * kTokens + lane / kLanes;
      if (token < end) top = fmaxf(top, score[i]);
    }
    const float kept = part.factor(top);
    part.top = top;
    part.sum *= kept;
#pragma unroll
    for (int e = 0; e < kHeld; ++e) part.out[e] *= kept;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int token = first + i * kTokens + lane / kLanes;
      const float weight = token < end ? expf(score[i] - top) : 0.0f;
      part.sum += weight;
#pragma unroll
      for (int e = 0; e < kHeld; ++e) part.out[e] = fmaf(weight, value[i][e], part.out[e]);
    }
  }
}

template <int kWarps>
struct Shared {
  float top[kWarps], sum[kWarps];
  float out[kWarps][kMostDim];
};

// One element of a merged part: out is element threadIdx.x of the head.
struct Merged {
  float top, sum, out;
};

// Merges the lanes' parts, then the warps', in a fixed order. Threads below `dim` get the result.
template <int kLanes, int kWarps>
__device__ inline Merged merge(Part& part, Shared<kWarps>& shared, int dim) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int offset = kLanes; offset < 32; offset *= 2) {
    const float top = fmaxf(part.top, __shfl_xor_sync(kAllLanes, part.top, offset));
    const float kept = part.factor(top);
    part.top = top;
    part.sum *= kept;
    part.sum += __shfl_xor_sync(kAllLanes, part.sum, offset);
#pragma unroll
    for (int e = 0; e < kHeld; ++e) {
      part.out[e] *= kept;
      part.out[e] += __shfl_xor_sync(kAllLanes, part.out[e], offset);
    }
  }
  if (lane < kLanes && lane * kHeld < dim) {
#pragma unroll
    for (int e = 0; e < kHeld; ++e) shared.out[warp][lane * kHeld + e] = part.out[e];
  }
  if (lane == 0) shared.top[warp] = part.top, shared.sum[warp] = part.sum;
  __syncthreads();
  Merged all{-INFINITY, 0.0f, 0.0f};
  if (static_cast<int>(threadIdx.x) >= dim) return all;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) all.top = fmaxf(all.top, shared.top[w]);
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const float kept = shared.top[w] == -INFINITY ? 0.0f : expf(shared.top[w] - all.top);
    all.sum = fmaf(kept, shared.sum[w], all.sum);
    all.out = fmaf(kept, shared.out[w][threadIdx.x], all.out);
  }
  return all;
}

}  // namespace vivace::attention
