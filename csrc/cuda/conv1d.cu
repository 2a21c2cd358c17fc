// SPDX-License-Identifier: Apache-2.0
// y[t] = tanh?(residual[t] + bias + Σ_j W_j act(x[t·stride + j·dilation − pad_left])), time-major.
// Implicit GEMM: a block computes a tile of frames by output channels. For a step of 32 input
// channels it holds the frames of x that all taps need (the slab) and activates each element once;
// a tap is then an offset in rows. With a stride, the taps that read the same frames modulo the
// stride form a group with a slab of its own, so rows of a slab always follow each other. The order
// of summation (group, channels, tap) depends on nothing but the weights' shape, stride and
// dilation: results do not change with the tile, the batch or the length.
#include <numeric>
#include <optional>
#include <type_traits>

#include "core/check.h"
#include "core/conv1d_call.cuh"
#include "core/conv1d_first.cuh"
#include "core/conv1d_last.cuh"
#include "core/conv1d_tiles.h"
#include "core/conv_epilogue.cuh"
#include "core/conv_pack.cuh"

namespace vivace {
namespace {

using conv::kChunk;
using conv::kPlaneBytes;
using conv::kPlanes;
using conv::SnakeTerm;
using conv::Tile;
using Geometry = conv::Conv1dGeometry;
template <class T>
using Call = conv::Conv1dCall<T>;

// A step of the walk: taps of a group inside, chunks of channels around them, groups outside.
struct Step {
  int group = 0, chunk = 0, tap = 0;

  __device__ void next(const Geometry& g) {
    tap += g.tap_step;
    if (tap < g.taps) return;
    if (++chunk == g.chunks) {
      chunk = 0;
      ++group;
    }
    tap = group;
  }
};

// Blocks of a multiprocessor, for ptxas: it would hold the kernel without 16-byte accesses to 64
// registers, and spill. 0: its own choice.
template <bool kAligned>
constexpr int kLeastBlocks = kAligned ? 0 : 1;

// One tile per block; neighbouring blocks share the frames of x. Weights arrive in a ring of
// stages, slabs in a ring of their own, each kStages - 1 steps ahead of its use.
template <class T, class Tile, bool kAligned>
__global__ void __launch_bounds__(Tile::kThreads, kLeastBlocks<kAligned>)
    conv1d_kernel(Call<T> call, Geometry g) {
  DYNAMIC_SHARED(char, shared);
  char* const slabs = shared + Tile::kRingBytes;
  const int slab_bytes = kPlanes * g.plane_bytes;
  SnakeTerm* const terms = reinterpret_cast<SnakeTerm*>(slabs + g.slabs * slab_bytes);

  const int across = blockIdx.x % g.tiles_across;
  const int clip = blockIdx.x / g.tiles_across / g.tiles_down;
  const int row0 = blockIdx.x / g.tiles_across % g.tiles_down * Tile::kRows;
  const T* x = call.x + clip * call.x_clip;
  const conv::Weights weights{call.packed, call.packed_planes, call.packed_columns,
                              across * Tile::kColumns};
  conv::Frames frames = call.frames(g, clip, row0);

  Step ahead;
  int next_slab = 0;
  const auto fetch = [&](int stage) {
    if (ahead.group < g.groups) {
      conv::stage_weights<Tile>(shared + stage * Tile::kStageBytes, weights, ahead.tap,
                                ahead.chunk);
      if (ahead.tap == ahead.group) {
        // From the parameters each time: a register less in the loop.
        frames.first = row0 * g.stride - g.pad_left + ahead.group * g.dilation;
        conv::stage_slab<T, Tile::kThreads, kAligned>(slabs + next_slab * slab_bytes, g.plane_bytes,
                                                      g.rows, x, g.channels_in,
                                                      ahead.chunk * kChunk<T>, frames);
        next_slab = next_slab + 1 == g.slabs ? 0 : next_slab + 1;
      }
      ahead.next(g);
    }
    ptx::cp_async_commit();
  };
  for (int stage = 0; stage < Tile::kStages - 1; ++stage) fetch(stage);
  if (call.prologue.activation == Activation::kSnake) {
    conv::fill_terms(terms, call.prologue.alpha, g.channels_in, g.chunks * kChunk<T>);
    __syncthreads();
  }

  Tile tile;
  tile.clear();
  const int lane_in_slab = conv::activation_lane<Tile>(g.plane_bytes);
  const char* const lane_in_ring = shared + conv::weight_lane<Tile>();
  int stage = 0;
  int slab = 0;
  for (int group = 0; group < g.groups; ++group) {
    for (int chunk = 0; chunk < g.chunks; ++chunk) {
      char* const frames_here = slabs + slab * slab_bytes;
      const char* tap_rows = frames_here + lane_in_slab;
#pragma unroll 1
      for (int tap = group; tap < g.taps; tap += g.tap_step) {
        ptx::cp_async_wait<Tile::kStages - 2>();
        if (tap == group) {
          conv::activate_slab<T, Tile::kThreads>(frames_here, g.plane_bytes, g.rows, call.prologue,
                                                 terms, chunk * kChunk<T>);
        }
        __syncthreads();  // this step's data is everybody's, the previous step's stage is free
        fetch(stage == 0 ? Tile::kStages - 1 : stage - 1);
        conv::multiply<T>(tile, tap_rows, g.plane_bytes, lane_in_ring + stage * Tile::kStageBytes);
        tap_rows += g.row_shift * kPlaneBytes;
        stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
      }
      slab = slab + 1 == g.slabs ? 0 : slab + 1;
    }
  }
  ptx::cp_async_wait_all();
  __syncthreads();  // the ring and the slabs become scratch

  const std::int64_t first = static_cast<std::int64_t>(row0) * g.channels_out;
  const std::int64_t y_clip = static_cast<std::int64_t>(g.frames_out) * g.channels_out;
  conv::Epilogue<T> out{
      call.y + clip * y_clip + first, nullptr,        call.bias, g.frames_out - row0,
      across * Tile::kColumns,        g.channels_out, call.tanh, call.aligned_out};
  if (call.residual != nullptr) {
    out.residual = call.residual + clip * call.residual_clip + first;
  }
  conv::store_tile<T>(tile, shared, out);
}

unsigned blocks_of(std::int64_t clips, std::int64_t frames, int per_block) {
  const std::int64_t blocks = clips * ((frames + per_block - 1) / per_block);
  check(blocks <= 2147483647, "conv1d: too many frames for one launch");
  return static_cast<unsigned>(blocks);
}

using Smallest = Tile<32, 64, 2, 2>;

// The tile's part of the geometry; returns its dynamic shared memory.
template <class T, class Tile>
int set_up(Geometry& g, bool snaked) {
  g.tiles_down = (g.frames_out + Tile::kRows - 1) / Tile::kRows;
  g.tiles_across = (g.channels_out + Tile::kColumns - 1) / Tile::kColumns;
  const int most_taps = (g.taps + g.tap_step - 1) / g.tap_step;
  const int least_taps = (g.taps - (g.groups - 1) + g.tap_step - 1) / g.tap_step;
  g.rows = Tile::kRows + (most_taps - 1) * g.row_shift;
  g.plane_bytes = conv::slab_rows(g.rows) * kPlaneBytes;
  // A slab is fetched kStages - 1 steps before its first use, while its predecessors are in use.
  g.slabs = 1 + (Tile::kStages - 1 + least_taps - 1) / least_taps;
  int smem = Tile::kRingBytes + g.slabs * kPlanes * g.plane_bytes;
  if (snaked) smem += g.chunks * kChunk<T> * static_cast<int>(sizeof(SnakeTerm));
  return smem < Tile::kScratchBytes ? Tile::kScratchBytes : smem;
}

template <class T, class Tile, bool kAligned>
void run(const Call<T>& call, Geometry g, std::int64_t clips, Stream stream) {
  const int smem = set_up<T, Tile>(g, call.prologue.activation == Activation::kSnake);
  if constexpr (!std::is_same_v<Tile,
                                Smallest>) {  // a wide span of taps, or a GPU with little memory
    if (smem > limits().shared_bytes) return run<T, Smallest, kAligned>(call, g, clips, stream);
  }
  const unsigned blocks = blocks_of(clips * g.tiles_across, g.frames_out, Tile::kRows);
  launch(conv1d_kernel<T, Tile, kAligned>, dim3(blocks), dim3(Tile::kThreads),
         static_cast<std::size_t>(smem), stream, call, g);
}

// The kernels of one input and one output channel, where they apply: that depends on the layer
// alone.
enum class End { kNeither, kFirst, kLast };

template <class T>
End end_of(const Geometry& g, const conv::PackedShape& packed, bool residual, bool tanh) {
  constexpr std::int64_t kEveryGpuHas = 48 * 1024;
  if (g.channels_in == 1 && !residual && !tanh) {
    return conv::first_shared_bytes(g, packed.columns) <= kEveryGpuHas ? End::kFirst
                                                                       : End::kNeither;
  }
  const bool narrow = (g.taps - 1) * g.dilation < conv::kLastFrames / 2;
  const bool applies = g.channels_out == 1 && g.stride == 1 && g.taps <= conv::kLastTaps && narrow;
  return applies && conv::last_shared_bytes<T>(packed.planes) <= kEveryGpuHas ? End::kLast
                                                                              : End::kNeither;
}

template <class T>
void run_first(const Call<T>& call, const Geometry& g, std::int64_t clips, Stream stream) {
  const std::int64_t smem = conv::first_shared_bytes(g, call.packed_columns);
  launch(conv::first_kernel<T>, dim3(blocks_of(clips, g.frames_out, conv::kFirstFrames)),
         dim3(conv::kFirstThreads), static_cast<std::size_t>(smem), stream, call, g);
}

template <class T>
void run_last(const Call<T>& call, const Geometry& g, std::int64_t clips, Stream stream) {
  const std::int64_t smem = conv::last_shared_bytes<T>(call.packed_planes);
  const int outputs = conv::kLastFrames - (g.taps - 1) * g.dilation;
  launch(conv::last_kernel<T>, dim3(blocks_of(clips, g.frames_out, outputs)),
         dim3(conv::kLastThreads), static_cast<std::size_t>(smem), stream, call, g, outputs);
}

template <class T>
void run_chosen(const Call<T>& call, const Geometry& g, std::int64_t clips, Stream stream) {
  if (!call.aligned_in) return run<T, Smallest, false>(call, g, clips, stream);
  // The order is that of kTiles.
  switch (conv::choose_tile(clips, g.frames_out, g.channels_out, limits().multiprocessors)) {
    case 0:
      return run<T, Smallest, true>(call, g, clips, stream);
    case 1:
      return run<T, Tile<64, 64, 2, 2>, true>(call, g, clips, stream);
    case 2:
      return run<T, Tile<128, 64, 2, 2>, true>(call, g, clips, stream);
    case 3:
      return run<T, Tile<256, 64, 4, 1>, true>(call, g, clips, stream);
    case 4:
      return run<T, Tile<128, 96, 2, 2>, true>(call, g, clips, stream);
    case 5:
      return run<T, Tile<192, 96, 4, 1>, true>(call, g, clips, stream);
    case 6:
      return run<T, Tile<224, 96, 2, 2>, true>(call, g, clips, stream);
    case 7:
      return run<T, Tile<128, 128, 2, 2>, true>(call, g, clips, stream);
    default:
      return run<T, Tile<160, 128, 2, 2>, true>(call, g, clips, stream);
  }
}

bool aligned(const Tensor& t) {
  const std::int64_t size = t.dtype == DType::kFloat32 ? 4 : 2;
  return reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0 && t.shape[2] * size % 16 == 0 &&
         (t.shape[0] == 1 || t.stride[0] * size % 16 == 0);
}

// Whether these stay within the kernels' int arithmetic.
bool in_range(std::int64_t kernel, std::int64_t stride, std::int64_t dilation) {
  return kernel >= 1 && stride >= 1 && dilation >= 1 && kernel < 65536 && dilation < 65536 &&
         kernel * dilation < 65536 && stride < 65536;
}

// The layer's part of the geometry.
Geometry layer(const conv::PackedShape& packed, std::int64_t channels_out, std::int64_t channels_in,
               std::int64_t kernel, std::int64_t stride, std::int64_t dilation) {
  const int divisor = static_cast<int>(std::gcd(stride, dilation));
  Geometry g{};
  g.channels_in = static_cast<int>(channels_in);
  g.channels_out = static_cast<int>(channels_out);
  g.taps = static_cast<int>(kernel);
  g.stride = static_cast<int>(stride);
  g.dilation = static_cast<int>(dilation);
  g.chunks = packed.planes / kPlanes;
  g.tap_step = g.stride / divisor;
  g.groups = g.taps < g.tap_step ? g.taps : g.tap_step;
  g.row_shift = g.dilation / divisor;
  return g;
}

template <class T>
bool fits(std::int64_t channels_out, std::int64_t channels_in, std::int64_t kernel,
          std::int64_t stride, std::int64_t dilation, bool snaked, bool residual, bool tanh) {
  const conv::PackedShape packed(channels_out, channels_in, conv::kPerPlane<T>);
  Geometry g = layer(packed, channels_out, channels_in, kernel, stride, dilation);
  return end_of<T>(g, packed, residual, tanh) != End::kNeither ||
         set_up<T, Smallest>(g, snaked) <= limits().shared_bytes;
}

}  // namespace

bool conv1d_fits(std::int64_t channels_out, std::int64_t channels_in, std::int64_t kernel,
                 std::int64_t stride, std::int64_t dilation, int activation, bool residual,
                 bool tanh, int products) {
  if (!in_range(kernel, stride, dilation)) return false;
  const bool snaked = static_cast<Activation>(activation) == Activation::kSnake;
  const auto ask = static_cast<Products>(products) == Products::kTf32 ? fits<float> : fits<__half>;
  return ask(channels_out, channels_in, kernel, stride, dilation, snaked, residual, tanh);
}

std::int64_t conv1d_packed_bytes(std::int64_t channels_out, std::int64_t channels_in,
                                 std::int64_t kernel, int products) {
  const int per_plane = conv::plane_channels(static_cast<Products>(products));
  return kernel * conv::PackedShape(channels_out, channels_in, per_plane).tap_bytes();
}

void conv1d_pack(const Tensor& out, const Tensor& weight, int products, Stream stream) {
  check(weight.ndim == 3 && weight.contiguous() && is_float(weight.dtype),
        "conv1d_pack: weight must be a contiguous (C_out, C_in, K) float tensor");
  check(static_cast<Products>(products) == tensor_core_products(weight.dtype),
        "conv1d_pack: these products are not those of the weight's dtype on a GPU");
  check(out.dtype == DType::kUInt8 && out.contiguous() &&
            out.numel() ==
                conv1d_packed_bytes(weight.shape[0], weight.shape[1], weight.shape[2], products),
        "conv1d_pack: out must be uint8 of conv1d_packed_bytes()");
  dispatch_float(weight.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const conv::PackedShape shape(weight.shape[0], weight.shape[1], conv::kPerPlane<T>);
    conv::pack_weights<T>(out.data, weight, shape, stream);
  });
}

void conv1d(const Tensor& y, const Tensor& x, const Tensor& packed,
            const std::optional<Tensor>& bias, const std::optional<Tensor>& alpha,
            const std::optional<Tensor>& residual, const std::optional<Tensor>& lengths,
            std::int64_t kernel, std::int64_t stride, std::int64_t dilation, std::int64_t pad_left,
            int activation, double slope, bool reflect_pad, bool tanh, int products,
            Stream stream) {
  check(x.ndim == 3 && y.ndim == 3 && x.shape[0] == y.shape[0] && dense_frames(x),
        "conv1d: x must be (B, T, C_in) with dense frames, y (B, T', C_out)");
  check(x.dtype == y.dtype && is_float(x.dtype), "conv1d: x and y must share a float dtype");
  check(y.contiguous(), "conv1d: y must be contiguous");
  check(static_cast<Products>(products) == tensor_core_products(x.dtype),
        "conv1d: these products are not those of the dtype on a GPU");
  check(in_range(kernel, stride, dilation) && pad_left >= 0 && x.shape[1] < (1 << 30) &&
            y.shape[1] < (1 << 30),
        "conv1d: kernel, stride, dilation or padding is out of range");
  check(packed.numel() == conv1d_packed_bytes(y.shape[2], x.shape[2], kernel, products),
        "conv1d: the packed weights are of another shape");
  check(is_vector(bias, y.shape[2], DType::kFloat32), "conv1d: bias must be (C_out,) float32");
  check(is_vector(alpha, x.shape[2], DType::kFloat32), "conv1d: alpha must be (C_in,) float32");
  check(is_vector(lengths, x.shape[0], DType::kInt64), "conv1d: lengths must be (B,) int64");
  check(!residual ||
            (same_shape(*residual, y) && residual->dtype == y.dtype && dense_frames(*residual)),
        "conv1d: residual must be like y, with dense frames");
  const auto kind = static_cast<Activation>(activation);
  check((kind == Activation::kSnake) == alpha.has_value(), "conv1d: alpha belongs to Snake");
  if (y.numel() == 0) return;

  dispatch_float(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const conv::PackedShape shape(y.shape[2], x.shape[2], conv::kPerPlane<T>);
    Geometry g = layer(shape, y.shape[2], x.shape[2], kernel, stride, dilation);
    g.frames_in = static_cast<int>(x.shape[1]);
    g.frames_out = static_cast<int>(y.shape[1]);
    g.pad_left = static_cast<int>(pad_left);
    const Call<T> call{y.as<T>(),
                       x.as<T>(),
                       data_of<T>(residual),
                       x.stride[0],
                       residual ? residual->stride[0] : 0,
                       packed.as<char>(),
                       shape.planes,
                       shape.columns,
                       data_of<float>(bias),
                       data_of<std::int64_t>(lengths),
                       {kind, static_cast<float>(slope), data_of<float>(alpha)},
                       reflect_pad,
                       tanh,
                       aligned(x),
                       !tanh && aligned(y) && (!residual || aligned(*residual))};
    switch (end_of<T>(g, shape, residual.has_value(), tanh)) {
      case End::kFirst:
        return run_first<T>(call, g, x.shape[0], stream);
      case End::kLast:
        return run_last<T>(call, g, x.shape[0], stream);
      case End::kNeither:
        return run_chosen<T>(call, g, x.shape[0], stream);
    }
  });
}

}  // namespace vivace
