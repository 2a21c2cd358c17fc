// SPDX-License-Identifier: Apache-2.0
// The inner loop of the conv1d family: an output tile of kRows frames by kColumns channels,
// computed on tensor cores from planes in shared memory (core/conv.h). float32 is multiplied as
// tf32.
#pragma once

#include "core/conv.h"
#include "core/dtype.h"
#include "core/gpu.cuh"

namespace vivace::conv {

template <class T>
constexpr int kPerPlane = kPlaneBytes / static_cast<int>(sizeof(T));  // channels
template <class T>
constexpr int kChunk = kPlanes * kPerPlane<T>;  // channels of one step in K

// A block's tile, split among kWarpsDown x kWarpsAcross warps, and the stages of its ring of
// weights.
template <int kRows_, int kColumns_, int kWarpsDown, int kWarpsAcross, int kStages_ = 4>
struct Tile {
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarps = kWarpsDown * kWarpsAcross;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWarpRows = kRows / kWarpsDown;
  static constexpr int kWarpColumns = kColumns / kWarpsAcross;
  static constexpr int kFragmentsDown = kWarpRows / 16;
  static constexpr int kFragmentsAcross = kWarpColumns / 8;
  static constexpr int kStageBytes = kPlanes * kColumns * kPlaneBytes;
  static constexpr int kRingBytes = kStages * kStageBytes;
  // Where the epilogue turns fragments into rows: 16 rows per warp. 8 columns more than needed make
  // the row length 8 or 24 words mod 32, which the fragments' float2 stores meet without conflicts.
  static constexpr int kScratchStride = kWarpColumns + 8;
  static constexpr int kScratchBytes = kWarps * 16 * kScratchStride * 4;
  static_assert(kWarps % kPlanes == 0, "each plane of a stage is copied by whole warps");
  static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0, "fragments are 16 x 16");

  float sum[kFragmentsDown][kFragmentsAcross][4];

  __device__ static int first_row() {
    return static_cast<int>(threadIdx.x) / 32 / kWarpsAcross * kWarpRows;
  }
  __device__ static int first_column() {
    return static_cast<int>(threadIdx.x) / 32 % kWarpsAcross * kWarpColumns;
  }

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kFragmentsDown; ++i) {
#pragma unroll
      for (int j = 0; j < kFragmentsAcross; ++j) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sum[i][j][k] = 0.0f;
      }
    }
  }

  // The 16 rows of fragments i of this warp, to its scratch of rows kScratchStride apart.
  __device__ void spread(float* scratch, int i) const {
    const int lane = threadIdx.x % 32;
    float* at = scratch + lane / 4 * kScratchStride + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kFragmentsAcross; ++j) {
      const float (&s)[4] = sum[i][j];
      *reinterpret_cast<float2*>(at + j * 8) = make_float2(s[0], s[1]);
      *reinterpret_cast<float2*>(at + 8 * kScratchStride + j * 8) = make_float2(s[2], s[3]);
    }
  }
};

__device__ inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                           Tag<float>) {
  ptx::mma_tf32(d, a, b);
}
__device__ inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                           Tag<__half>) {
  ptx::mma_f16(d, a, b);
}
__device__ inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                           Tag<__nv_bfloat16>) {
  ptx::mma_bf16(d, a, b);
}

// The byte that this lane passes to ldmatrix, from the first plane of an operand: for activations
// matrices (rows 0-7, 8-15) x (plane 0, 1), for weights (plane 0, 1) x (columns 0-7, 8-15).
template <class Tile>
__device__ int activation_lane(int plane_bytes) {
  const int lane = threadIdx.x % 32;
  return lane / 16 * plane_bytes + (Tile::first_row() + lane % 16) * kPlaneBytes;
}
template <class Tile>
__device__ int weight_lane() {
  const int lane = threadIdx.x % 32;
  const int column = Tile::first_column() + lane / 16 * 8 + lane % 8;
  return (lane / 8 % 2 * Tile::kColumns + column) * kPlaneBytes;
}

// tile += activations x weights over the planes of one step. The pointers include the lane's
// offset, that of the activations the tap's; plane_bytes is from one plane of activations to the
// next.
template <class T, class Tile>
__device__ void multiply(Tile& tile, const char* activations, int plane_bytes,
                         const char* weights) {
#pragma unroll
  for (int half = 0; half < kPlanes / 2; ++half) {
    unsigned a[Tile::kFragmentsDown][4];
#pragma unroll
    for (int i = 0; i < Tile::kFragmentsDown; ++i) {
      ptx::ldmatrix_x4(a[i], activations + half * 2 * plane_bytes + i * 16 * kPlaneBytes);
    }
#pragma unroll
    for (int j = 0; j < Tile::kFragmentsAcross; j += 2) {
      unsigned pair[4];
      ptx::ldmatrix_x4(pair, weights + (half * 2 * Tile::kColumns + j * 8) * kPlaneBytes);
      const unsigned b[2][2] = {{pair[0], pair[1]}, {pair[2], pair[3]}};
#pragma unroll
      for (int i = 0; i < Tile::kFragmentsDown; ++i) {
        mma(tile.sum[i][j], a[i], b[0], Tag<T>{});
        mma(tile.sum[i][j + 1], a[i], b[1], Tag<T>{});
      }
    }
  }
}

// Packed weights, and the columns of them that a block multiplies with.
struct Weights {
  const char* packed;
  int planes;   // of C_in
  int columns;  // of C_out, padded
  int first_column;
};

// Starts the copy of one step's weights, a tap and kPlanes planes, into a stage of the ring.
template <class Tile>
__device__ void stage_weights(char* stage, const Weights& w, int tap, int chunk) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int plane = warp % kPlanes;
  const std::int64_t row = static_cast<std::int64_t>(tap) * w.planes + chunk * kPlanes + plane;
  const char* from = w.packed + row * w.columns * kPlaneBytes;
#pragma unroll
  for (int n = warp / kPlanes * 32 + lane; n < Tile::kColumns; n += Tile::kThreads / kPlanes) {
    const int column = w.first_column + n;
    const bool in = column < w.columns;
    ptx::cp_async16(stage + (plane * Tile::kColumns + n) * kPlaneBytes,
                    from + (in ? column : 0) * kPlaneBytes, in);
  }
}

}  // namespace vivace::conv
