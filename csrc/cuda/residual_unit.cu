// SPDX-License-Identifier: Apache-2.0
// DAC's residual unit: y = x + W2 snake(W1 * snake(x) + b1) + b2, W1 of 7 taps, dilated, W2 of one.
// One kernel: a block computes a tile of frames by all channels. It holds all channels of the
// frames that the 7 taps need, activates them in place, and writes the activated result of the
// first convolution over them for the second, whose weights follow in the same ring as an eighth
// tap.
#include <optional>

#include "core/check.h"
#include "core/conv_epilogue.cuh"
#include "core/conv_pack.cuh"
#include "core/conv_slab.cuh"

namespace vivace {
namespace {

using conv::kChunk;
using conv::kPerPlane;
using conv::kPlaneBytes;
using conv::kPlanes;
using conv::SnakeTerm;
using conv::Tile;

constexpr int kTaps = 7;  // of the first convolution; tap kTaps is the second's

struct Geometry {
  int channels;
  int frames_in, frames_out;
  int dilation, padding;
  int chunks;  // steps of kChunk channels
  int packed_columns;
  int rows;  // of the slab, that are used
  int plane_bytes;
  int tiles_down;
};

template <class T>
struct Call {
  T* y;
  const T* x;
  std::int64_t x_clip;  // elements from clip to clip
  const char* packed;
  const float* alpha1;
  const float* bias1;
  const float* alpha2;
  const float* bias2;
  const std::int64_t* lengths;
};

// snake(tile + bias1) as the second convolution's activations: rows of the slab's planes.
template <class T, class Tile>
__device__ void store_inner(const Tile& tile, char* slab, const Call<T>& call, const Geometry& g,
                            const SnakeTerm* terms) {
  struct alignas(2 * sizeof(T)) Pair {
    T v[2];
  };
  const int lane = threadIdx.x % 32;
  const int row = Tile::first_row() + lane / 4;
#pragma unroll
  for (int j = 0; j < Tile::kFragmentsAcross; ++j) {
    const int channel = Tile::first_column() + j * 8 + lane % 4 * 2;
    if (channel >= g.chunks * kChunk<T>) continue;
    const SnakeTerm term[2] = {terms[channel], terms[channel + 1]};
    const float bias[2] = {channel < g.channels ? call.bias1[channel] : 0.0f,
                           channel + 1 < g.channels ? call.bias1[channel + 1] : 0.0f};
    char* to = slab + channel / kPerPlane<T> * g.plane_bytes + row * kPlaneBytes +
               channel % kPerPlane<T> * static_cast<int>(sizeof(T));
#pragma unroll
    for (int i = 0; i < Tile::kFragmentsDown; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // rows r and r + 8
        Pair pair;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float sum = __fadd_rn(tile.sum[i][j][2 * half + e], bias[e]);
          pair.v[e] = conv::round_factor<T>(conv::snake(sum, term[e]));
        }
        *reinterpret_cast<Pair*>(to + (16 * i + 8 * half) * kPlaneBytes) = pair;
      }
    }
  }
}

// Blocks of a multiprocessor, for ptxas: it would hold the smallest tile to 64 registers, and
// spill. 0: its own choice.
template <class Tile>
constexpr int kLeastBlocks = Tile::kRows <= 64 && Tile::kColumns <= 64 ? 1 : 0;

// One tile of frames per block.
template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, kLeastBlocks<Tile>)
    residual_unit_kernel(Call<T> call, Geometry g) {
  DYNAMIC_SHARED(char, shared);
  char* const slab = shared + Tile::kRingBytes;
  const int chunk_bytes = kPlanes * g.plane_bytes;
  SnakeTerm* const terms1 = reinterpret_cast<SnakeTerm*>(slab + g.chunks * chunk_bytes);
  SnakeTerm* const terms2 = terms1 + g.chunks * kChunk<T>;

  const int clip = blockIdx.x / g.tiles_down;
  const int row0 = blockIdx.x % g.tiles_down * Tile::kRows;
  const T* x = call.x + clip * call.x_clip;
  const conv::Weights weights{call.packed, g.chunks * kPlanes, g.packed_columns, 0};
  conv::Frames frames{row0 - g.padding, 1, g.frames_in, false};
  if (call.lengths != nullptr) {
    const std::int64_t length = call.lengths[clip];
    frames.length = static_cast<int>(length < g.frames_in ? length : g.frames_in);
  }

  // The steps: per chunk the 7 taps, then per chunk the second convolution.
  int next_chunk = 0;
  int next_tap = 0;
  const auto fetch = [&](int stage) {
    if (next_chunk < g.chunks) {
      conv::stage_weights<Tile>(shared + stage * Tile::kStageBytes, weights, next_tap, next_chunk);
      if (next_tap == 0) {
        conv::stage_slab<T, Tile::kThreads, true>(slab + next_chunk * chunk_bytes, g.plane_bytes,
                                                  g.rows, x, g.channels, next_chunk * kChunk<T>,
                                                  frames);
      }
      if (next_tap < kTaps - 1) {
        ++next_tap;
      } else if (++next_chunk < g.chunks) {
        if (next_tap < kTaps) next_tap = 0;
      } else if (next_tap < kTaps) {
        next_chunk = 0;
        next_tap = kTaps;
      }
    }
    ptx::cp_async_commit();
  };
  for (int stage = 0; stage < Tile::kStages - 1; ++stage) fetch(stage);
  conv::fill_terms(terms1, call.alpha1, g.channels, g.chunks * kChunk<T>);
  conv::fill_terms(terms2, call.alpha2, g.channels, g.chunks * kChunk<T>);
  __syncthreads();

  Tile tile;
  tile.clear();
  const char* const lane_in_slab = slab + conv::activation_lane<Tile>(g.plane_bytes);
  const char* const lane_in_ring = shared + conv::weight_lane<Tile>();
  const conv::Prologue prologue{Activation::kSnake, 0.0f, nullptr};
  int stage = 0;
  for (int chunk = 0; chunk < g.chunks; ++chunk) {
    const char* tap_rows = lane_in_slab + chunk * chunk_bytes;
#pragma unroll 1
    for (int tap = 0; tap < kTaps; ++tap) {
      ptx::cp_async_wait<Tile::kStages - 2>();
      if (tap == 0) {
        conv::activate_slab<T, Tile::kThreads>(slab + chunk * chunk_bytes, g.plane_bytes, g.rows,
                                               prologue, terms1, chunk * kChunk<T>);
      }
      __syncthreads();  // this step's data is everybody's, the previous step's stage is free
      fetch(stage == 0 ? Tile::kStages - 1 : stage - 1);
      conv::multiply<T>(tile, tap_rows, g.plane_bytes, lane_in_ring + stage * Tile::kStageBytes);
      tap_rows += g.dilation * kPlaneBytes;
      stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
    }
  }
  __syncthreads();  // nobody reads x from the slab any more
  store_inner<T>(tile, slab, call, g, terms2);
  tile.clear();
#pragma unroll 1
  for (int chunk = 0; chunk < g.chunks; ++chunk) {
    ptx::cp_async_wait<Tile::kStages - 2>();
    __syncthreads();
    fetch(stage == 0 ? Tile::kStages - 1 : stage - 1);
    conv::multiply<T>(tile, lane_in_slab + chunk * chunk_bytes, g.plane_bytes,
                      lane_in_ring + stage * Tile::kStageBytes);
    stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
  }
  ptx::cp_async_wait_all();
  __syncthreads();  // the ring and the slab become scratch

  const std::int64_t first = static_cast<std::int64_t>(row0) * g.channels;
  const std::int64_t y_clip = static_cast<std::int64_t>(g.frames_out) * g.channels;
  const std::int64_t cropped = (kTaps / 2 * g.dilation - g.padding) * g.channels;
  conv::store_tile<T>(
      tile, shared,
      conv::Epilogue<T>{call.y + clip * y_clip + first, x + first + cropped, call.bias2,
                        g.frames_out - row0, 0, g.channels, false, true});
}

template <class T, class Tile>
std::int64_t set_up(Geometry& g) {
  g.tiles_down = (g.frames_out + Tile::kRows - 1) / Tile::kRows;
  g.rows = Tile::kRows + (kTaps - 1) * g.dilation;
  g.plane_bytes = conv::slab_rows(g.rows) * kPlaneBytes;
  const std::int64_t slab = static_cast<std::int64_t>(g.chunks) * kPlanes * g.plane_bytes;
  const std::int64_t terms = 2 * sizeof(SnakeTerm) * g.chunks * kChunk<T>;
  const std::int64_t smem = Tile::kRingBytes + slab + terms;
  return smem < Tile::kScratchBytes ? Tile::kScratchBytes : smem;
}

// f(large tile, small tile) for a number of channels; false where there is none.
template <class F>
bool with_tiles(std::int64_t channels, const F& f) {
  if (channels <= 64) return f(Tile<256, 64, 4, 1>{}, Tile<64, 64, 2, 2>{});
  if (channels <= 96) return f(Tile<192, 96, 4, 1>{}, Tile<64, 96, 2, 2>{});
  if (channels <= 128) return f(Tile<128, 128, 2, 2>{}, Tile<64, 128, 2, 2>{});
  if (channels <= 192) return f(Tile<192, 192, 4, 2>{}, Tile<64, 192, 2, 2>{});
  if (channels <= 256) return f(Tile<128, 256, 2, 4, 3>{}, Tile<64, 256, 2, 4, 3>{});
  if (channels <= 384) return f(Tile<96, 384, 2, 4, 3>{}, Tile<64, 384, 2, 4, 3>{});
  return false;
}

template <class T>
Geometry geometry(std::int64_t channels, std::int64_t dilation) {
  const conv::PackedShape shape(channels, channels, kPerPlane<T>);
  Geometry g{};
  g.channels = static_cast<int>(channels);
  g.dilation = static_cast<int>(dilation);
  g.chunks = shape.planes / kPlanes;
  g.packed_columns = shape.columns;
  return g;
}

// The large tile, unless it does not fit or leaves more of the GPU idle than the small one wastes.
template <class T>
void run(const Call<T>& call, const Geometry& base, std::int64_t clips, Stream stream) {
  const Limits device = limits();
  const bool found = with_tiles(base.channels, [&](auto large, auto small) {
    const auto time = [&](auto tile, int percent) {
      const std::int64_t down = (base.frames_out + tile.kRows - 1) / tile.kRows;
      const std::int64_t rounds =
          (clips * down + device.multiprocessors - 1) / device.multiprocessors;
      return rounds * tile.kRows * percent;
    };
    const auto start = [&](auto tile) {
      using Chosen = decltype(tile);
      Geometry g = base;
      const std::int64_t smem = set_up<T, Chosen>(g);
      if (smem > device.shared_bytes) return false;
      const std::int64_t blocks = clips * g.tiles_down;
      check(blocks <= 2147483647, "residual_unit: too many frames for one launch");
      launch(residual_unit_kernel<T, Chosen>, dim3(static_cast<unsigned>(blocks)),
             dim3(Chosen::kThreads), static_cast<std::size_t>(smem), stream, call, g);
      return true;
    };
    // The small tile reads shared memory 1.5 times as often per product.
    return (time(large, 100) <= time(small, 150) && start(large)) || start(small);
  });
  check(found, "residual_unit: does not fit on chip (residual_unit_fits)");
}

template <class T>
bool fits(std::int64_t channels, std::int64_t dilation) {
  if (channels < 1 || channels % kPerPlane<T> != 0 || dilation > 4096) return false;
  return with_tiles(channels, [&](auto, auto small) {
    Geometry g = geometry<T>(channels, dilation);
    return set_up<T, decltype(small)>(g) <= limits().shared_bytes;
  });
}

bool aligned(const Tensor& t, std::int64_t size) {
  return reinterpret_cast<std::uintptr_t>(t.data) % 16 == 0 &&
         (t.shape[0] == 1 || t.stride[0] * size % 16 == 0);
}

}  // namespace

bool residual_unit_fits(std::int64_t channels, std::int64_t dilation, int products) {
  return static_cast<Products>(products) == Products::kTf32 ? fits<float>(channels, dilation)
                                                            : fits<__half>(channels, dilation);
}

std::int64_t residual_unit_packed_bytes(std::int64_t channels_out, std::int64_t channels_in,
                                        std::int64_t kernel, std::int64_t, std::int64_t,
                                        std::int64_t kernel2, int products) {
  const int per_plane = conv::plane_channels(static_cast<Products>(products));
  const conv::PackedShape shape(channels_out, channels_in, per_plane);
  return (kernel + kernel2) * shape.tap_bytes();
}

void residual_unit_pack(const Tensor& out, const Tensor& weight1, const Tensor& weight2,
                        int products, Stream stream) {
  const std::int64_t channels = weight1.shape[0];
  check(weight1.ndim == 3 && weight1.contiguous() && is_float(weight1.dtype) &&
            weight1.shape[1] == channels && weight1.shape[2] == kTaps,
        "residual_unit_pack: weight1 must be a contiguous (C, C, 7) float tensor");
  check(weight2.ndim == 3 && weight2.contiguous() && weight2.dtype == weight1.dtype &&
            weight2.shape[0] == channels && weight2.shape[1] == channels && weight2.shape[2] == 1,
        "residual_unit_pack: weight2 must be a contiguous (C, C, 1) tensor like weight1");
  check(static_cast<Products>(products) == tensor_core_products(weight1.dtype),
        "residual_unit_pack: these products are not those of the weights' dtype on a GPU");
  dispatch_float(weight1.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const conv::PackedShape shape(channels, channels, kPerPlane<T>);
    check(out.dtype == DType::kUInt8 && out.contiguous() &&
              out.numel() == (kTaps + 1) * shape.tap_bytes(),
          "residual_unit_pack: out must be uint8 of residual_unit_packed_bytes()");
    conv::pack_weights<T>(out.data, weight1, shape, stream);
    conv::pack_weights<T>(out.as<char>() + kTaps * shape.tap_bytes(), weight2, shape, stream);
  });
}

void residual_unit(const Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& alpha1,
                   const Tensor& bias1, const Tensor& alpha2, const Tensor& bias2,
                   const std::optional<Tensor>& lengths, std::int64_t dilation,
                   std::int64_t padding, int products, Stream stream) {
  const std::int64_t channels = x.shape[2];
  check(x.ndim == 3 && y.ndim == 3 && x.shape[0] == y.shape[0] && y.shape[2] == channels &&
            x.stride[2] == 1 && (x.stride[1] == channels || x.shape[1] <= 1),
        "residual_unit: x must be (B, T, C) with dense frames, y (B, T', C)");
  check(x.dtype == y.dtype && is_float(x.dtype), "residual_unit: x and y must share a float dtype");
  check(y.contiguous(), "residual_unit: y must be contiguous");
  check(static_cast<Products>(products) == tensor_core_products(x.dtype),
        "residual_unit: these products are not those of the dtype on a GPU");
  check(residual_unit_fits(channels, dilation, products),
        "residual_unit: does not fit on chip (residual_unit_fits)");
  check(dilation >= 1 && padding >= 0 && padding <= kTaps / 2 * dilation &&
            x.shape[1] < (1 << 30) && y.shape[1] == x.shape[1] + 2 * (padding - 3 * dilation),
        "residual_unit: dilation, padding or the length of y is wrong");
  check(is_vector(alpha1, channels, DType::kFloat32) &&
            is_vector(bias1, channels, DType::kFloat32) &&
            is_vector(alpha2, channels, DType::kFloat32) &&
            is_vector(bias2, channels, DType::kFloat32),
        "residual_unit: alphas and biases must be (C,) float32");
  check(is_vector(lengths, x.shape[0], DType::kInt64), "residual_unit: lengths must be (B,) int64");
  check(packed.numel() ==
            residual_unit_packed_bytes(channels, channels, kTaps, channels, channels, 1, products),
        "residual_unit: the packed weights are of another shape");
  if (y.numel() == 0) return;
  dispatch_float(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    check(aligned(x, sizeof(T)) && aligned(y, sizeof(T)),
          "residual_unit: frames must be 16-byte aligned");
    Geometry g = geometry<T>(channels, dilation);
    g.frames_in = static_cast<int>(x.shape[1]);
    g.frames_out = static_cast<int>(y.shape[1]);
    g.padding = static_cast<int>(padding);
    const Call<T> call{
        y.as<T>(),          x.as<T>(),          x.stride[0],
        packed.as<char>(),  alpha1.as<float>(), bias1.as<float>(),
        alpha2.as<float>(), bias2.as<float>(),  lengths ? lengths->as<std::int64_t>() : nullptr};
    run<T>(call, g, x.shape[0], stream);
  });
}

}  // namespace vivace
