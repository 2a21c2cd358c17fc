// SPDX-License-Identifier: Apache-2.0
// The recurrent part of an LSTM layer (Hochreiter & Schmidhuber 1997): i, f, g, o = gates[t] + W_hh
// h; c = σ(f)·c + σ(i)·tanh(g); h = σ(o)·tanh(c). A launch per step: every channel needs all of h,
// and the end of a kernel is the only barrier between blocks that cannot deadlock. W_hh comes from
// the L2 cache from the second step on.
#include "core/check.h"
#include "core/dtype.h"
#include "core/gemv.cuh"
#include "core/gpu.cuh"
#include "core/tensor.h"

namespace vivace {
namespace {

constexpr int kThreads = 128;  // a channel per warp
constexpr int kWarps = kThreads / 32;
constexpr int kGates = 4;

template <class T>
struct Step {
  T* y;                // (B, T, C), of frame t
  const T* gates;      // (B, T, 4C), of frame t
  const T* w_hh;       // (4C, C)
  const float* h_old;  // of row b at b * h_old_row
  float* h_new;
  const float* c_old;  // (B, C), may be c_new
  float* c_new;
  std::int64_t h_old_row, h_new_row;
  std::int64_t frames;
  int channels;
  bool aligned;
};

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <class T, int kBatch>
__global__ void __launch_bounds__(kThreads) lstm_kernel(Step<T> step, int row0, int rows) {
  using Product = gemv::Product<T, kGates, kBatch>;
  DYNAMIC_SHARED(float, h);
  const int channels = step.channels;
  const int channel = blockIdx.x * kWarps + threadIdx.x / 32;
  const bool exists = channel < channels;
  const gemv::Rows<T> matrix{step.w_hh + std::int64_t{channel} * channels,
                             std::int64_t{channels} * channels, exists ? kGates : 0, channels,
                             step.aligned};
  Product product;
  product.start(matrix);
  const int gate = Product::row();
  const std::int64_t row = row0 + Product::vector();
  const bool mine = exists && Product::vector() < rows;
  float from_input = 0.0f, c = 0.0f;
  if (mine) {
    from_input = to_float(step.gates[row * step.frames * kGates * channels +
                                     std::int64_t{gate} * channels + channel]);
    c = step.c_old[row * channels + channel];
  }
#pragma unroll
  for (int m = 0; m < kBatch; ++m) {
    for (int k = threadIdx.x; k < channels; k += kThreads) {
      h[m * gemv::padded(channels) + gemv::slot<T>(k, channels)] =
          m < rows ? step.h_old[(row0 + m) * step.h_old_row + k] : 0.0f;
    }
  }
  __syncthreads();
  const float sum = from_input + product.finish(matrix, h);
  // The gates of a channel and row are 8 lanes apart.
  const int lane = threadIdx.x % 8;
  const float in = __shfl_sync(kAllLanes, sum, lane);
  const float forget = __shfl_sync(kAllLanes, sum, lane + 8);
  const float candidate = __shfl_sync(kAllLanes, sum, lane + 16);
  const float out = __shfl_sync(kAllLanes, sum, lane + 24);
  if (!mine || gate != 0 || !Product::first_of_its_lanes()) return;
  c = fmaf(sigmoid(forget), c, sigmoid(in) * tanhf(candidate));
  const float result = sigmoid(out) * tanhf(c);
  step.c_new[row * channels + channel] = c;
  step.h_new[row * step.h_new_row + channel] = result;
  step.y[row * step.frames * channels + channel] = from_float<T>(result);
}

__global__ void __launch_bounds__(kThreads)
    lstm_state_kernel(float* h, const float* from, std::int64_t from_row, int channels) {
  const int channel = blockIdx.x * kThreads + threadIdx.x;
  if (channel >= channels) return;
  h[std::int64_t{blockIdx.y} * channels + channel] = from[blockIdx.y * from_row + channel];
}

}  // namespace

// Overwrites gates: the float32 state goes to the frame that has been used, so that no block writes
// what another one still reads.
void lstm(const Tensor& y, const Tensor& h, const Tensor& c, const Tensor& gates,
          const Tensor& w_hh, const Tensor& h0, const Tensor& c0, Stream stream) {
  check(y.ndim == 3 && gates.ndim == 3 && w_hh.ndim == 2 && h.ndim == 2,
        "lstm: expected y (B, T, C), gates (B, T, 4C), w_hh (4C, C) and h (B, C)");
  const std::int64_t batch = y.shape[0], frames = y.shape[1], channels = y.shape[2];
  check(gates.shape[0] == batch && gates.shape[1] == frames && gates.shape[2] == 4 * channels &&
            w_hh.shape[0] == 4 * channels && w_hh.shape[1] == channels,
        "lstm: the shapes of y (B, T, C), gates (B, T, 4C) and w_hh (4C, C) do not fit");
  check(h.shape[0] == batch && h.shape[1] == channels && same_shape(h, c) && same_shape(h, h0) &&
            same_shape(h, c0),
        "lstm: h, c, h0 and c0 must be (B, C)");
  check(is_float(y.dtype) && gates.dtype == y.dtype && w_hh.dtype == y.dtype,
        "lstm: y, gates and w_hh must share a float dtype");
  for (const Tensor* state : {&h, &c, &h0, &c0}) {
    check(state->dtype == DType::kFloat32 && state->contiguous(),
          "lstm: h, c, h0 and c0 must be float32 and contiguous");
  }
  check(y.contiguous() && gates.contiguous() && w_hh.contiguous(),
        "lstm: y, gates and w_hh must be contiguous");
  check(reinterpret_cast<std::uintptr_t>(gates.data) % 4 == 0,
        "lstm: gates must start at a multiple of 4 bytes");
  check(channels <= 1 << 20 && batch <= 65535, "lstm: too many channels or rows");
  if (y.numel() == 0) return;
  const int width = static_cast<int>(channels), rows = static_cast<int>(batch);
  dispatch_float(y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    // Rows of gates lie this many floats apart. (A frame of gates is no smaller than two of h.)
    const std::int64_t gates_row =
        frames * kGates * channels * static_cast<std::int64_t>(sizeof(T)) / 4;
    const auto used = [&](std::int64_t frame) {
      return reinterpret_cast<float*>(gates.as<T>() + frame * kGates * channels);
    };
    Step<T> step{};
    step.w_hh = w_hh.as<T>();
    step.c_new = c.as<float>();
    step.frames = frames;
    step.channels = width;
    step.aligned =
        reinterpret_cast<std::uintptr_t>(w_hh.data) % 16 == 0 && channels * sizeof(T) % 16 == 0;
    const dim3 grid(static_cast<unsigned>((width + kWarps - 1) / kWarps));
    const auto bytes = [&](int n) { return std::int64_t{4} * n * gemv::padded(width); };
    for (std::int64_t t = 0; t < frames; ++t) {
      step.y = y.as<T>() + t * channels;
      step.gates = gates.as<T>() + t * kGates * channels;
      step.h_old = t == 0 ? h0.as<float>() : step.h_new;
      step.h_old_row = t == 0 ? channels : step.h_new_row;
      step.h_new = t == 0 ? h.as<float>() : used(t - 1);
      step.h_new_row = t == 0 ? channels : gates_row;
      step.c_old = t == 0 ? c0.as<float>() : c.as<float>();
      const auto run = [&](auto most, int first, int count) {
        constexpr int kBatch = decltype(most)::value;
        launch(lstm_kernel<T, kBatch>, grid, dim3(kThreads),
               static_cast<std::size_t>(bytes(kBatch)), stream, step, first, count);
      };
      gemv::for_groups(rows, "lstm: a state does not fit into shared memory", bytes, run);
    }
    if (frames > 1) {
      const unsigned blocks = static_cast<unsigned>((width + kThreads - 1) / kThreads);
      launch(lstm_state_kernel, dim3(blocks, static_cast<unsigned>(rows)), dim3(kThreads), 0,
             stream, h.as<float>(), static_cast<const float*>(step.h_new), step.h_new_row, width);
    }
  });
}

}  // namespace vivace
