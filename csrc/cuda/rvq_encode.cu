// SPDX-License-Identifier: Apache-2.0
// Residual vector quantisation, encoding: all codebooks in one launch (arXiv:2306.06546,
// 2107.03312). For every codebook: p = W_in r + b_in; the row nearest in direction; r −= W_out (p +
// (q − p)) + b_out. The residual goes from step to step as in the reference, in float32 throughout:
// the algebra that carries only the d-dimensional projections is faster, but rounds elsewhere and
// chooses other codes.
#include "core/check.h"
#include "core/gpu.cuh"
#include "core/rvq_encode.h"
#include "core/tensor.h"

namespace vivace {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kGroup = 8;                // rows of a projection that are summed at a time
constexpr unsigned kWarp = 0xffffffffu;  // every lane

// Frames of one block: its reads of weights and codebooks serve that many frames, whose steps and
// sums fill its registers (d <= 8). A frame's result does not depend on it.
constexpr int kManyFrames = 8;
// Up to here one frame per block: a block per SM of an H200 or fewer, so sharing would only idle
// SMs.
constexpr std::int64_t kFewFrames = 128;
// What sm_86, sm_89 and sm_120 grant a block, less 4 KiB for the static arrays.
constexpr std::size_t kSharedLimit = 95 * 1024;

struct Problem : RvqTensors {
  std::int64_t frames, width;
  int books, rows, dim;
  bool vectors;  // rows of out_weight and codebooks may be read 16 bytes at a time
};

// A row of `dim` floats, filled up with zeros.
template <int kDim>
__device__ inline void load_row(float (&row)[kDim], const float* from, const Problem& p) {
  if (p.vectors) {
#pragma unroll
    for (int j = 0; j < kDim; j += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + j);
      row[j] = four.x, row[j + 1] = four.y, row[j + 2] = four.z, row[j + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int j = 0; j < kDim; ++j) row[j] = j < p.dim ? from[j] : 0.0f;
  }
}

// Sums each of kCount values over the lanes of the warp. A lane ends with the sums that
// first_sum() .. first_sum() + kept names, in values[0 .. kept). The order of the additions is the
// same whatever kCount is.
template <int kCount>
__device__ inline void sum_over_lanes(float (&values)[kCount], int lane) {
  int kept = kCount;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    if (kept == 1) {
      values[0] += __shfl_xor_sync(kWarp, values[0], offset);
      continue;
    }
    kept /= 2;
    const bool upper = (lane & offset) != 0;
#pragma unroll
    for (int i = 0; i < kCount / 2; ++i) {
      if (i >= kept) break;
      const float given = upper ? values[i] : values[i + kept];
      const float own = upper ? values[i + kept] : values[i];
      values[i] = own + __shfl_xor_sync(kWarp, given, offset);
    }
  }
}

// Sum over aligned groups of kDim lanes.
template <int kDim>
__device__ inline float sum_over_group(float value) {
#pragma unroll
  for (int offset = kDim / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kWarp, value, offset);
  }
  return value;
}

// Unsigned integers in the order of the floats.
__device__ inline unsigned order_key(float x) {
  const unsigned bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

template <int kFrames, int kDim>
struct Shared {
  float partial[kWarps][kFrames * kDim];   // projections, one summand per warp
  float latent[kFrames * kDim];            // p
  alignas(16) float unit[kFrames * kDim];  // p / |p|
  float square[kFrames];                   // |p / |p||²: 1, 0, or nearly so
  alignas(16) float step[kFrames * kDim];  // p + (q − p)
  unsigned key[kWarps][kFrames];           // the best score of a warp
  int index[kWarps][kFrames];
};

// residual −= W_out step + b_out, quantized += the same, on the thread's own channels.
template <int kFrames, int kDim>
__device__ inline void subtract_step(const Problem& p, const Shared<kFrames, kDim>& s,
                                     float* residual, float* quantized, int book) {
  float steps[kFrames * kDim];  // in registers: the stores below could change s, for all nvcc knows
#pragma unroll
  for (int i = 0; i < kFrames * kDim; ++i) steps[i] = s.step[i];
  for (std::int64_t d = threadIdx.x; d < p.width; d += kThreads) {
    float weight[kDim];
    load_row<kDim>(weight, p.out_weight + (book * p.width + d) * p.dim, p);
    const float bias = p.out_bias[book * p.width + d];
#pragma unroll
    for (int f = 0; f < kFrames; ++f) {
      float step = bias;
#pragma unroll
      for (int j = 0; j < kDim; ++j) step = fmaf(weight[j], steps[f * kDim + j], step);
      residual[f * p.width + d] -= step;
      quantized[f * p.width + d] += step;
    }
  }
}

// The warp's share of W_in residual, from the thread's own channels.
template <int kFrames, int kDim>
__device__ inline void project(const Problem& p, Shared<kFrames, kDim>& s, const float* residual,
                               int book) {
  constexpr int kCount = kFrames * kGroup;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int j0 = 0; j0 < p.dim; j0 += kGroup) {
    float sums[kCount] = {};
    for (std::int64_t d = threadIdx.x; d < p.width; d += kThreads) {
      float weight[kGroup];
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        const std::int64_t row = std::int64_t{book} * p.dim + j0 + j;
        weight[j] = j0 + j < p.dim ? p.in_weight[row * p.width + d] : 0.0f;
      }
#pragma unroll
      for (int f = 0; f < kFrames; ++f) {
        const float value = residual[f * p.width + d];
#pragma unroll
        for (int j = 0; j < kGroup; ++j) {
          sums[f * kGroup + j] = fmaf(weight[j], value, sums[f * kGroup + j]);
        }
      }
    }
    sum_over_lanes(sums, lane);
    constexpr int kKept = kCount > 32 ? kCount / 32 : 1;
    constexpr int kSharing = kCount < 32 ? 32 / kCount : 1;  // lanes that hold the same sum
    if (lane % kSharing == 0) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) {
        const int sum = lane / kSharing * kKept + i;  // frame * kGroup + j
        s.partial[warp][sum / kGroup * kDim + j0 + sum % kGroup] = sums[i];
      }
    }
  }
}

// Adds the warps' shares, writes the latents and their directions.
template <int kFrames, int kDim>
__device__ inline void normalise(const Problem& p, Shared<kFrames, kDim>& s, std::int64_t first,
                                 int book) {
  constexpr int kSums = kFrames * kDim;
  const int i = threadIdx.x;  // frame * kDim + j
  if (i >= (kSums + 31) / 32 * 32) return;
  const int f = i / kDim, j = i % kDim;
  float latent = 0.0f;
  if (i < kSums && j < p.dim) {
#pragma unroll
    for (int w = 0; w < kWarps; ++w) latent += s.partial[w][i];
    latent += p.in_bias[book * p.dim + j];
  }
  const float norm = sqrtf(sum_over_group<kDim>(latent * latent));
  const float unit = latent / fmaxf(norm, 1e-12f);
  const float square = sum_over_group<kDim>(unit * unit);
  if (i >= kSums) return;
  s.latent[i] = latent;
  s.unit[i] = unit;
  if (j == 0) s.square[f] = square;
  if (first + f < p.frames && j < p.dim) {
    p.latents[((first + f) * p.books + book) * p.dim + j] = latent;
  }
}

// The warp's best row for every frame by −(|u|² − 2u·c) + |c|², c of length 1; of equals the first.
template <int kFrames, int kDim>
__device__ inline void search(const Problem& p, Shared<kFrames, kDim>& s, int book) {
  float best[kFrames];
  int index[kFrames];
#pragma unroll
  for (int f = 0; f < kFrames; ++f) best[f] = -INFINITY, index[f] = 0;
  const float* codebook = p.codebooks + std::int64_t{book} * p.rows * p.dim;
  for (int k = threadIdx.x; k < p.rows; k += kThreads) {
    float row[kDim];
    load_row<kDim>(row, codebook + std::int64_t{k} * p.dim, p);
    float square = 0.0f;
#pragma unroll
    for (int j = 0; j < kDim; ++j) square = fmaf(row[j], row[j], square);
    const float inverse = 1.0f / fmaxf(sqrtf(square), 1e-12f);
    square = 0.0f;
#pragma unroll
    for (int j = 0; j < kDim; ++j) {
      row[j] *= inverse;
      square = fmaf(row[j], row[j], square);
    }
#pragma unroll
    for (int f = 0; f < kFrames; ++f) {
      float product = 0.0f;
#pragma unroll
      for (int j = 0; j < kDim; ++j) product = fmaf(row[j], s.unit[f * kDim + j], product);
      const float score = (2.0f * product - s.square[f]) + square;
      if (score > best[f]) best[f] = score, index[f] = k;
    }
  }
#pragma unroll
  for (int f = 0; f < kFrames; ++f) {
    const unsigned key = order_key(best[f]);
    const unsigned top = __reduce_max_sync(kWarp, key);
    const int first = __reduce_min_sync(kWarp, key == top ? index[f] : p.rows);
    if (threadIdx.x % 32 == 0) {
      s.key[threadIdx.x / 32][f] = top;
      s.index[threadIdx.x / 32][f] = first;
    }
  }
}

// The best of the warps: writes the code, and p + (q − p) for the next step.
template <int kFrames, int kDim>
__device__ inline void choose(const Problem& p, Shared<kFrames, kDim>& s, std::int64_t first,
                              int book) {
  const int i = threadIdx.x;  // frame * kDim + j
  if (i >= kFrames * kDim) return;
  const int f = i / kDim, j = i % kDim;
  unsigned key = s.key[0][f];
  int code = s.index[0][f];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) {
    const unsigned other = s.key[w][f];
    if (other > key || (other == key && s.index[w][f] < code)) key = other, code = s.index[w][f];
  }
  float step = 0.0f;
  if (j < p.dim) {
    const float latent = s.latent[i];
    const float row = p.codebooks[(std::int64_t{book} * p.rows + code) * p.dim + j];
    step = latent + (row - latent);
  }
  s.step[i] = step;
  if (j == 0 && first + f < p.frames) p.codes[(first + f) * p.books + book] = code;
}

// kFrames frames per block, all codebooks one after the other. Channel d of the residual and of the
// quantized sum belongs to thread d % kThreads, which alone reads and writes it.
template <int kFrames, int kDim>
__global__ void __launch_bounds__(kThreads) rvq_encode_kernel(Problem p) {
  static_assert(kFrames * kDim <= kThreads, "a thread per latent");
  __shared__ Shared<kFrames, kDim> s;
  DYNAMIC_SHARED(float, residual);  // (kFrames, width)
  float* const quantized = residual + kFrames * p.width;
  const std::int64_t first = std::int64_t{blockIdx.x} * kFrames;
#pragma unroll
  for (int f = 0; f < kFrames; ++f) {
    const bool valid = first + f < p.frames;
    for (std::int64_t d = threadIdx.x; d < p.width; d += kThreads) {
      residual[f * p.width + d] = valid ? p.z[(first + f) * p.width + d] : 0.0f;
      quantized[f * p.width + d] = 0.0f;
    }
  }
  for (int book = 0; book < p.books; ++book) {
    if (book > 0) subtract_step<kFrames, kDim>(p, s, residual, quantized, book - 1);
    project<kFrames, kDim>(p, s, residual, book);
    __syncthreads();
    normalise<kFrames, kDim>(p, s, first, book);
    __syncthreads();
    search<kFrames, kDim>(p, s, book);
    __syncthreads();
    choose<kFrames, kDim>(p, s, first, book);
    __syncthreads();
  }
  if (p.books > 0) subtract_step<kFrames, kDim>(p, s, residual, quantized, p.books - 1);
#pragma unroll
  for (int f = 0; f < kFrames; ++f) {
    if (first + f >= p.frames) break;
    for (std::int64_t d = threadIdx.x; d < p.width; d += kThreads) {
      p.quantized[(first + f) * p.width + d] = quantized[f * p.width + d];
    }
  }
}

void run(const Problem& p, Stream stream) {
  const std::size_t frame_bytes = 2 * sizeof(float) * p.width;
  const bool many =
      p.dim <= 8 && p.frames > kFewFrames && kManyFrames * frame_bytes <= kSharedLimit;
  const int frames = many ? kManyFrames : 1;
  const auto kernel = many         ? rvq_encode_kernel<kManyFrames, 8>
                      : p.dim <= 8 ? rvq_encode_kernel<1, 8>
                                   : rvq_encode_kernel<1, 32>;
  const std::int64_t blocks = (p.frames + frames - 1) / frames;
  check(blocks <= 2147483647, "rvq_encode: B * T must be at most 2147483647");
  launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), frames * frame_bytes, stream,
         p);
}

}  // namespace

void rvq_encode(const Tensor& codes, const Tensor& latents, const Tensor& quantized,
                const Tensor& z, const Tensor& in_weight, const Tensor& in_bias,
                const Tensor& out_weight, const Tensor& out_bias, const Tensor& codebooks,
                Stream stream) {
  const RvqCall call = checked_rvq_encode(codes, latents, quantized, z, in_weight, in_bias,
                                          out_weight, out_bias, codebooks);
  check(call.dim >= 1 && call.dim <= 32, "rvq_encode: d must be from 1 to 32");
  check(call.rows >= 1 && call.rows <= 2147483647 - kThreads,
        "rvq_encode: a codebook must have rows");
  if (call.frames == 0) return;
  const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(out_weight.data) |
                              reinterpret_cast<std::uintptr_t>(codebooks.data);
  const int padded = call.dim <= 8 ? 8 : 32;
  const Problem problem{call.tensors,
                        call.frames,
                        call.width,
                        static_cast<int>(call.books),
                        static_cast<int>(call.rows),
                        static_cast<int>(call.dim),
                        call.dim == padded && bits % 16 == 0};
  run(problem, stream);
}

}  // namespace vivace
