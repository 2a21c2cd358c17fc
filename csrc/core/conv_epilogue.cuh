// SPDX-License-Identifier: Apache-2.0
// From a tile of sums to rows of the result: + bias, + residual, tanh in float32, one rounding.
#pragma once

#include "core/conv_tile.cuh"
#include "core/pack.cuh"

namespace vivace::conv {

// Where a tile goes. y and residual point at its first frame, channel 0.
template <class T>
struct Epilogue {
  T* y;
  const T* residual;  // or null
  const float* bias;  // (C_out,) or null
  int rows;           // frames of the tile that exist
  int first_column;   // output channel of the tile's column 0
  int channels;       // C_out, also from frame to frame
  bool tanh;     // only where aligned is false: the models' tanh has one channel in front of it
  bool aligned;  // 16-byte accesses to y and residual

  __device__ float finish(float value, int channel, float skip) const {
    if (bias != nullptr) value = __fadd_rn(value, bias[channel]);
    return residual == nullptr ? value : __fadd_rn(skip, value);
  }
};

// Writes the tile. Fragments hold two neighbouring columns per lane; through the warp's own scratch
// they become 16-byte pieces of rows. The scratch may be any shared memory that no one uses any
// more.
template <class T, class Tile>
__device__ void store_tile(const Tile& tile, char* scratch, const Epilogue<T>& out) {
  constexpr int kSize = kPerPlane<T>;
  constexpr int kPieces = Tile::kWarpColumns / kSize;  // of a row
  constexpr int kStride = Tile::kScratchStride;
  const int lane = threadIdx.x % 32;
  float* mine = reinterpret_cast<float*>(scratch) + threadIdx.x / 32 * 16 * kStride;
  const int first_column = out.first_column + Tile::first_column();
#pragma unroll
  for (int i = 0; i < Tile::kFragmentsDown; ++i) {
    tile.spread(mine, i);
    __syncwarp();
#pragma unroll 1
    for (int piece = lane; piece < 16 * kPieces; piece += 32) {
      const int row = Tile::first_row() + i * 16 + piece / kPieces;
      const int channel = first_column + piece % kPieces * kSize;
      if (row >= out.rows || channel >= out.channels) continue;
      const float* from = mine + piece / kPieces * kStride + piece % kPieces * kSize;
      const std::int64_t offset = static_cast<std::int64_t>(row) * out.channels + channel;
      if (out.aligned) {
        Pack<T> skip{};
        if (out.residual != nullptr) skip = load_pack(out.residual + offset);
        Pack<T> result;
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          result.v[e] = from_float<T>(out.finish(from[e], channel + e, to_float(skip.v[e])));
        }
        store_pack(out.y + offset, result);
      } else {
#pragma unroll 1
        for (int e = 0; e < kSize && channel + e < out.channels; ++e) {
          const float skip = out.residual == nullptr ? 0.0f : to_float(out.residual[offset + e]);
          const float value = out.finish(from[e], channel + e, skip);
          out.y[offset + e] = from_float<T>(out.tanh ? tanhf(value) : value);
        }
      }
    }
    __syncwarp();
  }
}

}  // namespace vivace::conv
