// SPDX-License-Identifier: Apache-2.0
// The activation in front of a convolution, and the rounding of its result to a factor of products.
#pragma once

#include "core/conv.h"
#include "core/dtype.h"
#include "core/gpu.cuh"

namespace vivace::conv {

// Snake of one channel: x + sin²(αx) / (α + 1e-9), Ziyin et al. 2020.
struct SnakeTerm {
  float turns;    // α/π: sin² has the period π
  float inverse;  // 1 / (α + 1e-9)
};

__device__ inline SnakeTerm snake_term(float alpha) {
  return {alpha * 0.318309886f, 1.0f / (alpha + 1e-9f)};
}

// One sine of the special function unit, after reduction to half a period, where its error is 2^-21
// whatever αx was. Ten instructions: core/math.cuh has the float32-exact one, which takes fifteen.
// The explicit roundings keep the compiler from fusing differently in different kernels.
__device__ inline float snake(float x, SnakeTerm term) {
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
  const float turn = __fsub_rn(fmaf(x, term.turns, kRound), kRound);
  const float rest = fmaf(x, term.turns, -turn);
  const float sine = __sinf(__fmul_rn(rest, 3.14159265f));
  return fmaf(term.inverse, __fmul_rn(sine, sine), x);
}

__device__ inline float elu(float x) { return x > 0.0f ? x : expm1f(x); }
__device__ inline float leaky_relu(float x, float slope) {
  return x > 0.0f ? x : __fmul_rn(x, slope);
}

// The nearest value that the tensor core multiplies.
template <class T>
__device__ inline T round_factor(float x) {
  return from_float<T>(x);
}
template <>
__device__ inline float round_factor<float>(float x) {
  return __uint_as_float(ptx::to_tf32(x));
}

// An activation by value, as a kernel receives it.
struct Prologue {
  Activation activation;
  float slope;         // of leaky ReLU
  const float* alpha;  // of Snake, (C,)

  __device__ float apply(float x, SnakeTerm term) const {
    if (activation == Activation::kSnake) return snake(x, term);
    if (activation == Activation::kElu) return elu(x);
    return activation == Activation::kLeakyRelu ? leaky_relu(x, slope) : x;
  }
};

// Fills the Snake terms of all channels, padded ones with 0 (which maps 0 to 0). A barrier must
// follow.
__device__ inline void fill_terms(SnakeTerm* terms, const float* alpha, int channels, int padded) {
  for (int c = threadIdx.x; c < padded; c += blockDim.x) {
    terms[c] = snake_term(c < channels ? alpha[c] : 0.0f);
  }
}

}  // namespace vivace::conv
