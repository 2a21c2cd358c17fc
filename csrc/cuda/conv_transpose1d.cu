// SPDX-License-Identifier: Apache-2.0
// Transposed convolution with kernel = 2·stride of activated x (B, T, C_in), cropped on both sides.
// The frames i·s … i·s + s − 1 of the raw result are one row of s·C_out columns, W[s:]·x[i − 1] +
// W[:s]·x[i]: a convolution of two taps, whose rows follow each other in y without a gap.
#include <optional>

#include "core/check.h"
#include "core/conv.h"
#include "core/conv_activation.cuh"
#include "core/conv_slab.cuh"
#include "core/conv_tile.cuh"
#include "core/dtype.h"
#include "core/gpu.cuh"
#include "core/pack.cuh"

namespace vivace {
namespace {

using conv::kPerPlane;
using conv::kPlaneBytes;
using conv::kPlanes;

constexpr int kTaps = 2;    // the row before, the row itself
constexpr int kStages = 3;  // of the ring: a step's slab and its weights of both taps

template <class T>
struct Problem {
  T* y;                         // (B, T', C_out)
  const T* x;                   // (B, T, C_in), its clips batch_stride apart
  const char* packed;           // core/conv.h, with s·C_out output channels
  const float* bias;            // (C_out,) or null
  const std::int64_t* lengths;  // (B,) or null
  conv::Prologue prologue;
  std::int64_t batch_stride;
  std::int64_t clip_size;  // T'·C_out
  std::int64_t crop;       // elements cut in front of the first row: crop_left·C_out
  int time, channels_in, channels_out;
  int row_size;  // s·C_out
  int planes, packed_columns;
  int column_tiles;
  bool aligned;  // 16-byte stores
};

template <class Tile>
struct Stage {
  static constexpr int kRows = Tile::kRows + 1;  // one row of history
  // 2 mod 8 rows: see conv::slab_rows.
  static constexpr int kSlabPlane = (Tile::kRows + 2) * kPlaneBytes;
  static constexpr int kSlabBytes = kPlanes * kSlabPlane;
  static constexpr int kBytes = kSlabBytes + kTaps * Tile::kStageBytes;
  static_assert(Tile::kRows % 8 == 0, "slab rows must be 2 mod 8");
  static_assert(Tile::kScratchBytes <= kStages * kBytes, "the epilogue's scratch lies in the ring");
};

// Adds the bias and writes the tile at `first`, the element of the clip where its first row would
// begin. What the crops cut off lies outside [0, clip_size).
template <class T, class Tile>
__device__ void store_rows(const Tile& tile, char* scratch, const Problem<T>& p, T* clip,
                           std::int64_t first, int first_column) {
  constexpr int kSize = kPerPlane<T>;
  constexpr int kPieces = Tile::kWarpColumns / kSize;  // of a row
  constexpr int kStride = Tile::kScratchStride;
  const int lane = threadIdx.x % 32;
  float* mine = reinterpret_cast<float*>(scratch) + threadIdx.x / 32 * 16 * kStride;
#pragma unroll
  for (int i = 0; i < Tile::kFragmentsDown; ++i) {
    tile.spread(mine, i);
    __syncwarp();
#pragma unroll 1
    for (int piece = lane; piece < 16 * kPieces; piece += 32) {
      const int row = Tile::first_row() + i * 16 + piece / kPieces;
      const int column = first_column + Tile::first_column() + piece % kPieces * kSize;
      const float* from = mine + piece / kPieces * kStride + piece % kPieces * kSize;
      const std::int64_t offset = first + static_cast<std::int64_t>(row) * p.row_size + column;
      if (column >= p.row_size || offset >= p.clip_size) continue;
      if (p.aligned) {  // C_out is a multiple of kSize: neither crops nor frames cut a piece
        if (offset < 0) continue;
        const int channel = column % p.channels_out;
        Pack<T> result;
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          const float bias = p.bias == nullptr ? 0.0f : p.bias[channel + e];
          result.v[e] = from_float<T>(__fadd_rn(from[e], bias));
        }
        store_pack(clip + offset, result);
      } else {
#pragma unroll 1
        for (int e = 0; e < kSize && column + e < p.row_size && offset + e < p.clip_size; ++e) {
          if (offset + e < 0) continue;
          const float bias = p.bias == nullptr ? 0.0f : p.bias[(column + e) % p.channels_out];
          clip[offset + e] = from_float<T>(__fadd_rn(from[e], bias));
        }
      }
    }
    __syncwarp();
  }
}

// One tile of rows and columns per blockIdx.x, columns fastest: the blocks that share rows of x run
// together. One clip per blockIdx.y. Each thread activates what it copied, so that one barrier per
// step stands between the copies and the products, and also frees the stage that was read before
// it.
template <class T, class Tile, bool kAligned>
__global__ void __launch_bounds__(Tile::kThreads) conv_transpose1d_kernel(Problem<T> p) {
  using Step = Stage<Tile>;
  DYNAMIC_SHARED(char, shared);
  auto* terms = reinterpret_cast<conv::SnakeTerm*>(shared + kStages * Step::kBytes);
  const int first_row = blockIdx.x / p.column_tiles * Tile::kRows;
  const int first_column = blockIdx.x % p.column_tiles * Tile::kColumns;
  const T* x = p.x + blockIdx.y * p.batch_stride;
  int length = p.time;
  if (p.lengths != nullptr) {
    const std::int64_t own = p.lengths[blockIdx.y];
    length = own < 0 ? 0 : own < length ? static_cast<int>(own) : length;
  }
  const conv::Frames frames{first_row - 1, 1, length, false};
  const conv::Weights weights{p.packed, p.planes, p.packed_columns, first_column};
  const int chunks = p.planes / kPlanes;
  const auto stage_of = [=](int chunk) { return shared + chunk % kStages * Step::kBytes; };
  const auto copy = [&](int chunk) {
    if (chunk < chunks) {
      char* stage = stage_of(chunk);
      conv::stage_slab<T, Tile::kThreads, kAligned>(stage, Step::kSlabPlane, Step::kRows, x,
                                                    p.channels_in, chunk * conv::kChunk<T>, frames);
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        conv::stage_weights<Tile>(stage + Step::kSlabBytes + tap * Tile::kStageBytes, weights, tap,
                                  chunk);
      }
    }
    ptx::cp_async_commit();
  };

  if (p.prologue.activation == Activation::kSnake) {
    conv::fill_terms(terms, p.prologue.alpha, p.channels_in, chunks * conv::kChunk<T>);
  }
  for (int chunk = 0; chunk < kStages - 1; ++chunk) copy(chunk);
  __syncthreads();  // the terms
  Tile tile;
  tile.clear();
  const int activation_lane = conv::activation_lane<Tile>(Step::kSlabPlane);
  const int weight_lane = Step::kSlabBytes + conv::weight_lane<Tile>();
  for (int chunk = 0; chunk < chunks; ++chunk) {
    char* stage = stage_of(chunk);
    ptx::cp_async_wait<kStages - 2>();
    conv::activate_slab<T, Tile::kThreads>(stage, Step::kSlabPlane, Step::kRows, p.prologue, terms,
                                           chunk * conv::kChunk<T>);
    __syncthreads();
    copy(chunk + kStages - 1);
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      conv::multiply<T>(tile, stage + activation_lane + tap * kPlaneBytes, Step::kSlabPlane,
                        stage + weight_lane + tap * Tile::kStageBytes);
    }
  }
  __syncthreads();  // the scratch lies in the ring
  store_rows(tile, shared, p, p.y + blockIdx.y * p.clip_size,
             static_cast<std::int64_t>(first_row) * p.row_size - p.crop, first_column);
}

// Element (tap, plane, n, e) of the packed order; n = phase·C_out + channel. Tap 0 meets x[i − 1].
template <class T>
__global__ void conv_transpose1d_pack_kernel(T* packed, const T* weight, int channels_in,
                                             int channels_out, int stride,
                                             conv::PackedShape shape) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t tap_size = std::int64_t{kPerPlane<T>} * shape.planes * shape.columns;
  if (i >= kTaps * tap_size) return;
  const int tap = static_cast<int>(i / tap_size);
  const std::int64_t rest = i % tap_size;  // (plane * columns + n) * kPerPlane + e
  const int n = static_cast<int>(rest / kPerPlane<T> % shape.columns);
  const int c =
      static_cast<int>(rest / kPerPlane<T> / shape.columns * kPerPlane<T> + rest % kPerPlane<T>);
  float value = 0.0f;
  if (n < stride * channels_out && c < channels_in) {
    const int k = (kTaps - 1 - tap) * stride + n / channels_out;
    const std::int64_t row = static_cast<std::int64_t>(c) * channels_out + n % channels_out;
    value = to_float(weight[row * kTaps * stride + k]);
  }
  packed[i] = conv::round_factor<T>(value);
}

using Wide = conv::Tile<128, 128, 2, 2>;   // 64 x 64 per warp
using Narrow = conv::Tile<128, 96, 2, 2>;  // divides 192 columns, the last layer of DAC
using Small = conv::Tile<64, 64, 2, 2>;    // fills a GPU with a second of audio

// Time of a launch in arbitrary units: rounds over the 132 SMs of an H200, times the tile's size
// and the time that an element of it takes, which grows with what its warps read from shared
// memory.
template <class Tile>
std::int64_t expected_time(std::int64_t rows, std::int64_t columns, std::int64_t batch,
                           int per_element) {
  const std::int64_t tiles = (rows + Tile::kRows - 1) / Tile::kRows *
                             ((columns + Tile::kColumns - 1) / Tile::kColumns) * batch;
  return (tiles + 131) / 132 * Tile::kRows * Tile::kColumns * per_element;
}

template <class T, class Tile, bool kAligned>
void run(Problem<T> p, std::int64_t rows, std::int64_t batch, Stream stream) {
  p.column_tiles = (p.row_size + Tile::kColumns - 1) / Tile::kColumns;
  const std::int64_t blocks = (rows + Tile::kRows - 1) / Tile::kRows * p.column_tiles;
  check(blocks <= 2147483647, "conv_transpose1d: the result is too long for one launch");
  std::size_t smem = kStages * Stage<Tile>::kBytes;
  if (p.prologue.activation == Activation::kSnake) {
    smem += sizeof(conv::SnakeTerm) * p.planes * kPerPlane<T>;
  }
  launch(conv_transpose1d_kernel<T, Tile, kAligned>,
         dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(batch)), dim3(Tile::kThreads),
         smem, stream, p);
}

}  // namespace

std::int64_t conv_transpose1d_packed_bytes(std::int64_t channels_in, std::int64_t channels_out,
                                           std::int64_t kernel, int products) {
  const conv::PackedShape shape(kernel / 2 * channels_out, channels_in,
                                conv::plane_channels(static_cast<Products>(products)));
  return kTaps * shape.tap_bytes();
}

void conv_transpose1d_pack(const Tensor& out, const Tensor& weight, int products, Stream stream) {
  check(weight.ndim == 3 && weight.contiguous() && weight.shape[2] % 2 == 0,
        "conv_transpose1d_pack: weight must be (C_in, C_out, 2 * stride), contiguous");
  check(is_float(weight.dtype) &&
            static_cast<Products>(products) == tensor_core_products(weight.dtype),
        "conv_transpose1d_pack: the weight's dtype does not fit the products");
  const std::int64_t channels_in = weight.shape[0], channels_out = weight.shape[1];
  const std::int64_t stride = weight.shape[2] / 2;
  check(out.dtype == DType::kUInt8 && out.ndim == 1 && out.contiguous() &&
            out.shape[0] ==
                conv_transpose1d_packed_bytes(channels_in, channels_out, 2 * stride, products),
        "conv_transpose1d_pack: out must be uint8, of conv_transpose1d_packed_bytes()");
  if (out.numel() == 0) return;
  dispatch_float(weight.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int kThreads = 256;
    const std::int64_t size = out.shape[0] / static_cast<int>(sizeof(T));
    launch(conv_transpose1d_pack_kernel<T>,
           dim3(static_cast<unsigned>((size + kThreads - 1) / kThreads)), dim3(kThreads), 0, stream,
           out.as<T>(), weight.as<T>(), static_cast<int>(channels_in),
           static_cast<int>(channels_out), static_cast<int>(stride),
           conv::PackedShape(stride * channels_out, channels_in, kPerPlane<T>));
  });
}

void conv_transpose1d(const Tensor& y, const Tensor& x, const Tensor& packed,
                      const std::optional<Tensor>& bias, const std::optional<Tensor>& alpha,
                      const std::optional<Tensor>& lengths, std::int64_t stride,
                      std::int64_t crop_left, int activation, float slope, int products,
                      Stream stream) {
  check(x.ndim == 3 && y.ndim == 3 && x.shape[0] == y.shape[0],
        "conv_transpose1d: expected x (B, T, C_in) and y (B, T', C_out)");
  check(x.dtype == y.dtype && is_float(x.dtype) &&
            static_cast<Products>(products) == tensor_core_products(x.dtype),
        "conv_transpose1d: x and y must share a float dtype that fits the products");
  const std::int64_t batch = x.shape[0], time = x.shape[1], channels_in = x.shape[2];
  const std::int64_t frames = y.shape[1], channels_out = y.shape[2];
  check(y.contiguous(), "conv_transpose1d: y must be contiguous");
  check((x.stride[2] == 1 || channels_in == 1) && (x.stride[1] == channels_in || time == 1),
        "conv_transpose1d: the frames of x must be contiguous and follow each other");
  check(stride >= 1 && crop_left >= 0 && crop_left + frames <= (time + 1) * stride,
        "conv_transpose1d: y has more frames than (T + 1) * stride - crop_left");
  check(packed.dtype == DType::kUInt8 && packed.ndim == 1 && packed.contiguous() &&
            packed.shape[0] ==
                conv_transpose1d_packed_bytes(channels_in, channels_out, 2 * stride, products),
        "conv_transpose1d: packed must be what conv_transpose1d_pack() made of the weight");
  check(is_vector(bias, channels_out, DType::kFloat32) &&
            is_vector(alpha, channels_in, DType::kFloat32) &&
            is_vector(lengths, batch, DType::kInt64),
        "conv_transpose1d: bias (C_out,) and alpha (C_in,) must be float32, lengths (B,) int64");
  check(activation >= 0 && activation <= 3 &&
            (activation == static_cast<int>(Activation::kSnake)) == alpha.has_value(),
        "conv_transpose1d: alpha belongs to Snake");
  check(time < (1 << 30) && stride * channels_out < (1 << 30),
        "conv_transpose1d: T and stride * C_out must be below 2^30");
  if (y.numel() == 0) return;
  const std::int64_t rows = (crop_left + frames - 1) / stride + 1;
  dispatch_float(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const conv::PackedShape shape(stride * channels_out, channels_in, kPerPlane<T>);
    const auto aligned = [](const Tensor& t, std::int64_t elements) {
      return (reinterpret_cast<std::uintptr_t>(t.data) | elements * sizeof(T)) % 16 == 0;
    };
    const Problem<T> p{
        y.as<T>(),
        x.as<T>(),
        packed.as<char>(),
        bias ? bias->as<float>() : nullptr,
        lengths ? lengths->as<std::int64_t>() : nullptr,
        {static_cast<Activation>(activation), slope, alpha ? alpha->as<float>() : nullptr},
        x.stride[0],
        frames * channels_out,
        crop_left * channels_out,
        static_cast<int>(time),
        static_cast<int>(channels_in),
        static_cast<int>(channels_out),
        static_cast<int>(stride * channels_out),
        shape.planes,
        shape.columns,
        0,
        aligned(y, channels_out)};
    if (!aligned(x, channels_in | (batch > 1 ? x.stride[0] : 0))) {
      return run<T, Small, false>(p, rows, batch, stream);
    }
    const std::int64_t wide = expected_time<Wide>(rows, p.row_size, batch, 16);
    const std::int64_t narrow = expected_time<Narrow>(rows, p.row_size, batch, 17);
    const std::int64_t small = expected_time<Small>(rows, p.row_size, batch, 28);
    if (small < wide && small < narrow) return run<T, Small, true>(p, rows, batch, stream);
    if (narrow < wide) return run<T, Narrow, true>(p, rows, batch, stream);
    run<T, Wide, true>(p, rows, batch, stream);
  });
}

}  // namespace vivace
