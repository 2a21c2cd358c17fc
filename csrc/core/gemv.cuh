// SPDX-License-Identifier: Apache-2.0
// A matrix in memory times a few vectors on chip: bound by reading the matrix once. A warp owns
// rows of it, whose 16-byte pieces its lanes take in turns; the vectors are float32 in shared
// memory.
#pragma once

#include <type_traits>

#include "core/pack.cuh"
#include "core/reduce.cuh"

namespace vivace::gemv {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// Loads of a thread that are under way at once. With many vectors registers are short, and more
// arithmetic follows each piece.
template <int kBatch>
constexpr int kPieces = kBatch < 4 ? 16 : 8;

// Floats that a vector of `width` elements takes in shared memory.
__host__ __device__ constexpr int padded(int width) { return (width + 7) / 8 * 8; }

// Where element k of a vector of padded(width) lies. Lanes read the vector in pieces of as many
// elements as 16 bytes of the matrix hold: of eight, the fours lie in two planes, so that the
// lanes' reads of 16 bytes are neighbours and no two banks collide.
template <class T>
__device__ inline int slot(int k, int width) {
  if constexpr (sizeof(T) == 4) return k;
  return k / 4 % 2 * (padded(width) / 2) + k / 8 * 4 + k % 4;
}

// The rows of a warp: row r at first + r * step, the first `count` of which exist.
template <class T>
struct Rows {
  const T* first;
  std::int64_t step;
  int count;
  int width;
  bool aligned;  // every row, and width a number of whole pieces
};

// kRows rows times kBatch vectors. start() requests the first pieces, which come while the vectors
// are made; finish() returns the sums.
template <class T, int kRows, int kBatch>
struct Product {
  static constexpr int kSize = Pack<T>::kSize;
  static constexpr int kDepth = kPieces<kBatch> / kRows;
  static constexpr int kSums = kRows * kBatch;

  uint4 held[kRows][kDepth];
  float sums[kSums];

  // The row and the vector of the sum that this lane gets; lanes share it where there are fewer.
  static __device__ int row() { return threadIdx.x % 32 * kSums / 32 / kBatch; }
  static __device__ int vector() { return threadIdx.x % 32 * kSums / 32 % kBatch; }
  static __device__ bool first_of_its_lanes() { return threadIdx.x % 32 % (32 / kSums) == 0; }

  __device__ void start(const Rows<T>& rows) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] = 0.0f;
    if (rows.aligned) request(rows, 0);
  }

  // x: kBatch vectors in shared memory, behind a barrier. All lanes of the warp must come here.
  __device__ float finish(const Rows<T>& rows, const float* x) {
    if (rows.aligned) {
      constexpr int kStep = 32 * kDepth;
      const int pieces = rows.width / kSize;
      multiply(x, rows.width, 0);
#pragma unroll 1
      for (int begin = kStep; begin < pieces; begin += kStep) {
        request(rows, begin);
        multiply(x, rows.width, begin);
      }
    } else {
      one_by_one(rows, x);
    }
    return warp_sums(sums);
  }

 private:
  __device__ void request(const Rows<T>& rows, int begin) {
    const int pieces = rows.width / kSize;
#pragma unroll
    for (int u = 0; u < kDepth; ++u) {
      const int piece = begin + u * 32 + threadIdx.x % 32;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        held[r][u] = uint4{0, 0, 0, 0};
        if (piece < pieces && r < rows.count) {
          held[r][u] = ptx::load_once(rows.first + r * rows.step + piece * kSize);
        }
      }
    }
  }

  __device__ void multiply(const float* x, int width, int begin) {
    const int pieces = width / kSize;
#pragma unroll
    for (int u = 0; u < kDepth; ++u) {
      const int piece = begin + u * 32 + threadIdx.x % 32;
      if (piece >= pieces) break;
#pragma unroll
      for (int four = 0; four < kSize / 4; ++four) {
        float weights[kRows][4];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const Pack<T>& pack = reinterpret_cast<const Pack<T>&>(held[r][u]);
#pragma unroll
          for (int e = 0; e < 4; ++e) weights[r][e] = to_float(pack.v[four * 4 + e]);
        }
#pragma unroll
        for (int m = 0; m < kBatch; ++m) {
          const int at = m * padded(width) + four * (padded(width) / 2) + piece * 4;
          const float4 values = *reinterpret_cast<const float4*>(x + at);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            float& sum = sums[r * kBatch + m];
            sum = fmaf(weights[r][0], values.x, sum);
            sum = fmaf(weights[r][1], values.y, sum);
            sum = fmaf(weights[r][2], values.z, sum);
            sum = fmaf(weights[r][3], values.w, sum);
          }
        }
      }
    }
  }

  __device__ void one_by_one(const Rows<T>& rows, const float* x) {
#pragma unroll 1
    for (int k = threadIdx.x % 32; k < rows.width; k += 32) {
      const float* value = x + slot<T>(k, rows.width);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float weight = r < rows.count ? to_float(rows.first[r * rows.step + k]) : 0.0f;
#pragma unroll
        for (int m = 0; m < kBatch; ++m) {
          float& sum = sums[r * kBatch + m];
          sum = fmaf(weight, value[m * padded(rows.width)], sum);
        }
      }
    }
  }
};

// Calls run(std::integral_constant<int, n>, first, count) for groups of count <= n vectors that
// cover `batch`: as large as they and the shared memory, bytes(n), allow. Throws `message` where
// not even one fits.
template <class Bytes, class Run>
void for_groups(int batch, const char* message, Bytes bytes, Run run) {
  int largest = 8;
  while (largest > 1 && bytes(largest) > limits().shared_bytes) largest /= 2;
  check(bytes(largest) <= limits().shared_bytes, message);
  for (int first = 0; first < batch; first += largest) {
    const int count = batch - first < largest ? batch - first : largest;
    if (count > 4) {
      run(std::integral_constant<int, 8>{}, first, count);
    } else if (count > 2) {
      run(std::integral_constant<int, 4>{}, first, count);
    } else if (count > 1) {
      run(std::integral_constant<int, 2>{}, first, count);
    } else {
      run(std::integral_constant<int, 1>{}, first, count);
    }
  }
}

}  // namespace vivace::gemv
