// SPDX-License-Identifier: Apache-2.0
// The products of gpt_decode_step: a matrix times a vector per row of the batch, with what comes
// before it (a norm, or the merge of attention's parts) and after it in the same kernel.
#pragma once

#include <type_traits>

#include "core/gemv.cuh"
#include "core/reduce.cuh"

namespace vivace::gpt {

using gemv::kThreads;
using gemv::padded;

// Parts of a row's tokens that attention works on side by side, and how many tokens they have at
// least: what a block reads in one go. Neither depends on anything but the row's own length, so
// that no row's result depends on its neighbours or on the bound of the lengths.
constexpr int kMostParts = 8;
constexpr int kLeastTokens = 64;

struct Parts {
  int tokens;  // of each part but the last
  int count;

  __host__ __device__ explicit Parts(int total) {
    const int even = (total + kMostParts - 1) / kMostParts;
    tokens = even < kLeastTokens ? kLeastTokens : (even + 7) / 8 * 8;
    count = (total + tokens - 1) / tokens;
  }
};

// What all kernels of a step share. Arrays are (rows, ...) of the batch, float32 but for x, keys
// and values.
template <class T>
struct Step {
  const T* x;         // (B, C) the embedding, read in place of `stream` before it is written
  float* stream;      // (B, C) the residual stream
  float* queries;     // (B, C)
  float* parts;       // (B, parts, C): sums of exp(score - top) v of a part of the tokens
  float* part_stats;  // (B, H, parts, 2): top, Σ exp(score - top)
  float* inner;       // (B, F)
  float* logits;      // (B, rows of the head)
  const std::int64_t* lengths;
  std::int64_t longest;
  int width, heads, dim, capacity;

  // Tokens in the cache of a row. No kernel can raise: what is out of range is cut.
  __device__ int length(int row) const {
    const std::int64_t given = lengths[row];
    return static_cast<int>(given < 0 ? 0 : given > longest ? longest : given);
  }
};

// The products. kRows: rows of the matrix per warp, enough to have some 16 loads per thread under
// way, and blocks for every multiprocessor.
struct Qkv {
  static constexpr int kRows = 2;
};
struct Out {
  static constexpr int kRows = 1;
};
struct Up {
  static constexpr int kRows = 4;
};
struct Down {
  static constexpr int kRows = 1;
};
struct Head {
  static constexpr int kRows = 4;
};

template <class T>
struct Layer {
  const T* matrix;  // (rows, width)
  const T* bias;    // or null
  const T* gain;    // of the norm in front, or null
  const T* shift;   // or null
  T* keys;          // (B, H, S, D) of this layer
  T* values;
  int rows, width;
  bool aligned;  // 16-byte reads of the matrix
  bool first;    // the residual stream is still x
};

// Dynamic shared memory: the vectors, then the factors of attention's parts, or the norm's gain and
// shift.
template <class Stage>
std::int64_t shared_bytes(int batch, int width, int heads) {
  std::int64_t others = 2 * width;
  if (std::is_same_v<Stage, Out>) others = std::int64_t{batch} * heads * kMostParts;
  if (std::is_same_v<Stage, Down>) others = 0;
  return 4 * (std::int64_t{batch} * padded(width) + others);
}

template <class T>
__device__ inline float residual(const Step<T>& step, const Layer<T>& layer, std::int64_t at) {
  return layer.first ? to_float(step.x[at]) : step.stream[at];
}

// Elements per thread that are staged at a time: of many vectors one each keeps loads under way.
constexpr __host__ __device__ int ahead(int batch) { return batch < 4 ? 4 : 1; }

// Layer norm of the residual stream, in two passes. A thread reads what it has written, so that the
// only barriers are those of the sums.
template <class T, int kBatch>
__device__ inline void stage_norm(float* x, const Step<T>& step, const Layer<T>& layer, int row0,
                                  int rows) {
  __shared__ float sums[2][gemv::kWarps * kBatch];
  [[maybe_unused]] constexpr int kAhead = ahead(kBatch);
  const int width = step.width;
  const float one_over_width = 1.0f / static_cast<float>(width);
  float* const gains = x + kBatch * padded(width);
  float* const shifts = gains + width;
  float mean[kBatch] = {}, square[kBatch] = {}, inverse[kBatch];
#pragma unroll kAhead
  for (int k = threadIdx.x; k < width; k += kThreads) {
    gains[k] = layer.gain == nullptr ? 1.0f : to_float(layer.gain[k]);
    shifts[k] = layer.shift == nullptr ? 0.0f : to_float(layer.shift[k]);
#pragma unroll
    for (int m = 0; m < kBatch; ++m) {
      const float value =
          m < rows ? residual(step, layer, std::int64_t{row0 + m} * width + k) : 0.0f;
      x[m * padded(width) + gemv::slot<T>(k, width)] = value;
      mean[m] += value;
    }
  }
  block_sums<kThreads>(mean, sums[0]);
#pragma unroll
  for (int m = 0; m < kBatch; ++m) mean[m] *= one_over_width;
#pragma unroll kAhead
  for (int k = threadIdx.x; k < width; k += kThreads) {
#pragma unroll
    for (int m = 0; m < kBatch; ++m) {
      const float value = x[m * padded(width) + gemv::slot<T>(k, width)] - mean[m];
      square[m] = fmaf(value, value, square[m]);
    }
  }
  block_sums<kThreads>(square, sums[1]);
#pragma unroll
  for (int m = 0; m < kBatch; ++m) {
    inverse[m] = 1.0f / sqrtf(fmaf(square[m], one_over_width, 1e-5f));
  }
#pragma unroll kAhead
  for (int k = threadIdx.x; k < width; k += kThreads) {
#pragma unroll
    for (int m = 0; m < kBatch; ++m) {
      float& value = x[m * padded(width) + gemv::slot<T>(k, width)];
      value = fmaf((value - mean[m]) * inverse[m], gains[k], shifts[k]);
    }
  }
}

// The attention of all heads, merged from the parts in their order.
template <class T, int kBatch>
__device__ inline void stage_attention(float* x, const Step<T>& step, int row0, int rows) {
  const int width = step.width;
  float* const factors = x + kBatch * padded(width);  // (batch, heads, parts)
  for (int i = threadIdx.x; i < rows * step.heads; i += kThreads) {
    const int row = row0 + i / step.heads;
    const int count = Parts(step.length(row) + 1).count;
    const std::int64_t head = std::int64_t{row} * step.heads + i % step.heads;
    const float* stats = step.part_stats + head * kMostParts * 2;
    float top = -INFINITY, sum = 0.0f;
    for (int p = 0; p < count; ++p) top = fmaxf(top, stats[2 * p]);
    for (int p = 0; p < count; ++p) {
      const float factor = expf(stats[2 * p] - top);
      factors[i * kMostParts + p] = factor;
      sum = fmaf(factor, stats[2 * p + 1], sum);
    }
    const float one_over_sum = 1.0f / sum;
    for (int p = 0; p < count; ++p) factors[i * kMostParts + p] *= one_over_sum;
  }
  __syncthreads();
#pragma unroll 1
  for (int m = 0; m < kBatch; ++m) {
    const int count = m < rows ? Parts(step.length(row0 + m) + 1).count : 0;
    const float* parts = step.parts + std::int64_t{row0 + m} * kMostParts * width;
    for (int k = threadIdx.x; k < width; k += kThreads) {
      const float* factor = factors + (m * step.heads + k / step.dim) * kMostParts;
      float value = 0.0f;
#pragma unroll
      for (int p = 0; p < kMostParts; ++p) {
        if (p < count) value = fmaf(factor[p], parts[p * width + k], value);
      }
      x[m * padded(width) + gemv::slot<T>(k, width)] = value;
    }
  }
}

template <class T, int kBatch>
__device__ inline void stage_plain(float* x, const float* from, int width, int row0, int rows) {
  [[maybe_unused]] constexpr int kAhead = ahead(kBatch);
#pragma unroll kAhead
  for (int k = threadIdx.x; k < width; k += kThreads) {
#pragma unroll
    for (int m = 0; m < kBatch; ++m) {
      x[m * padded(width) + gemv::slot<T>(k, width)] =
          m < rows ? from[std::int64_t{row0 + m} * width + k] : 0.0f;
    }
  }
}

__device__ inline float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.707106781f)); }

// Where the result n of a row goes, and what is added to it; made before the product, so that its
// reads are under way with those of the weights.
template <class Stage, class T>
struct Result {
  float added = 0.0f;
  std::int64_t at = 0;
  int which = 0;  // of queries, keys and values

  Result() = default;
  __device__ Result(const Step<T>& step, const Layer<T>& layer, int row, int n) {
    const float bias = layer.bias == nullptr ? 0.0f : to_float(layer.bias[n]);
    at = std::int64_t{row} * layer.rows + n;
    added = bias;
    if constexpr (std::is_same_v<Stage, Out> || std::is_same_v<Stage, Down>) {
      added += residual(step, layer, at);
    } else if constexpr (std::is_same_v<Stage, Qkv>) {
      which = n / step.width;
      const int channel = n % step.width;
      at = std::int64_t{row} * step.width + channel;
      if (which != 0) {
        const std::int64_t head = std::int64_t{row} * step.heads + channel / step.dim;
        at = (head * step.capacity + step.length(row)) * step.dim + channel % step.dim;
      }
    }
  }

  __device__ void store(const Step<T>& step, const Layer<T>& layer, float product) const {
    const float value = product + added;
    if constexpr (std::is_same_v<Stage, Qkv>) {
      if (which == 0) {
        step.queries[at] = value;
      } else {
        (which == 1 ? layer.keys : layer.values)[at] = from_float<T>(value);
      }
    } else if constexpr (std::is_same_v<Stage, Up>) {
      step.inner[at] = gelu(value);
    } else if constexpr (std::is_same_v<Stage, Head>) {
      step.logits[at] = value;
    } else {
      step.stream[at] = value;
    }
  }
};

}  // namespace vivace::gpt
