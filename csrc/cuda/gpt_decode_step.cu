// SPDX-License-Identifier: Apache-2.0
// One token through a GPT-2 block stack and its head (Radford et al. 2019), five kernels per layer:
// norm + W_qkv with the append to the cache; attention over parts of the tokens; merge + W_out +
// residual; norm + W_up + GELU; W_down + residual. Then norm + head. Each reads its weights once
// and requests them before what comes in front. No atomics and no tickets: the same bits every
// time.
#include <vector>

#include "core/check.h"
#include "core/decode_attention.cuh"
#include "core/dtype.h"
#include "core/gpt_step.cuh"
#include "core/gpu.cuh"
#include "core/tensor.h"

namespace vivace {
namespace {

using gpt::Layer;
using gpt::Parts;
using gpt::Step;

constexpr int kAttentionThreads = 128;
constexpr int kAttentionWarps = kAttentionThreads / 32;
constexpr int kPerLayer = 12;

// kWarps * Stage::kRows rows of the matrix per block, for rows row0 .. row0 + rows - 1 of the
// batch. Two blocks share a multiprocessor: one computes while the other one waits for its first
// weights. Eight vectors need more registers than that leaves.
template <class T, class Stage, int kBatch>
__global__ void __launch_bounds__(gpt::kThreads, kBatch < 8 ? 2 : 1)
    gpt_product_kernel(Step<T> step, Layer<T> layer, int row0, int rows) {
  using Product = gemv::Product<T, Stage::kRows, kBatch>;
  DYNAMIC_SHARED(float, x);
  const int n0 = (blockIdx.x * gemv::kWarps + threadIdx.x / 32) * Stage::kRows;
  const gemv::Rows<T> matrix{layer.matrix + std::int64_t{n0} * layer.width, layer.width,
                             layer.rows - n0, layer.width, layer.aligned};
  Product product;
  product.start(matrix);
  const int n = n0 + Product::row();
  const int m = Product::vector();
  const bool mine = Product::first_of_its_lanes() && n < layer.rows && m < rows;
  gpt::Result<Stage, T> result;
  if (mine) result = {step, layer, row0 + m, n};
  if constexpr (std::is_same_v<Stage, gpt::Out>) {
    gpt::stage_attention<T, kBatch>(x, step, row0, rows);
  } else if constexpr (std::is_same_v<Stage, gpt::Down>) {
    gpt::stage_plain<T, kBatch>(x, step.inner, layer.width, row0, rows);
  } else {
    gpt::stage_norm<T, kBatch>(x, step, layer, row0, rows);
  }
  __syncthreads();
  const float sum = product.finish(matrix, x);
  if (mine) result.store(step, layer, sum);
}

// One part of the tokens of one head of one row per block. Parts that a row does not have end at
// once: the grid is that of `longest`.
template <class T, int kLanes, bool kAligned>
__global__ void __launch_bounds__(kAttentionThreads)
    gpt_attention_kernel(Step<T> step, const T* keys, const T* values) {
  __shared__ attention::Shared<kAttentionWarps> shared;
  const int index = blockIdx.x, head = blockIdx.y, row = blockIdx.z;
  const int total = step.length(row) + 1;
  const Parts parts(total);
  if (index >= parts.count) return;
  const int begin = index * parts.tokens;
  const int end = min(begin + parts.tokens, total);
  const int dim = step.dim;
  const std::int64_t head_of_all = std::int64_t{row} * step.heads + head;
  const T* const first_key = keys + head_of_all * step.capacity * dim;
  const T* const first_value = values + head_of_all * step.capacity * dim;

  const int element = threadIdx.x % kLanes * attention::kHeld;
  float query[attention::kHeld] = {};
  if (element < dim) {
    const float* from = step.queries + std::int64_t{row} * step.width + head * dim + element;
    attention::load_eight<true>(query, from);
  }
  attention::Part part;
  attention::attend<kLanes, kAligned>(
      part, query, [=](int token) { return first_key + std::int64_t{token} * dim; },
      [=](int token) { return first_value + std::int64_t{token} * dim; }, begin, end, dim);
  const attention::Merged all = attention::merge<kLanes>(part, shared, dim);
  if (static_cast<int>(threadIdx.x) < dim) {
    step.parts[(std::int64_t{row} * gpt::kMostParts + index) * step.width + head * dim +
               threadIdx.x] = all.out;
  }
  if (threadIdx.x == 0) {
    float* const stats = step.part_stats + (head_of_all * gpt::kMostParts + index) * 2;
    stats[0] = all.top;
    stats[1] = all.sum;
  }
}

template <class T>
bool aligned(const T* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

template <class Stage, class T>
void multiply(const Step<T>& step, Layer<T> layer, int batch, Stream stream) {
  layer.aligned = aligned(layer.matrix) && layer.width * sizeof(T) % 16 == 0;
  constexpr int kPerBlock = gemv::kWarps * Stage::kRows;
  const dim3 grid(static_cast<unsigned>((layer.rows + kPerBlock - 1) / kPerBlock));
  const auto bytes = [&](int rows) {
    return gpt::shared_bytes<Stage>(rows, layer.width, step.heads);
  };
  const auto run = [&](auto most, int first, int count) {
    constexpr int kBatch = decltype(most)::value;
    launch(gpt_product_kernel<T, Stage, kBatch>, grid, dim3(gpt::kThreads),
           static_cast<std::size_t>(bytes(kBatch)), stream, step, layer, first, count);
  };
  gemv::for_groups(batch, "gpt_decode_step: a row does not fit into shared memory", bytes, run);
}

template <class T>
void attend(const Step<T>& step, const Layer<T>& layer, int batch, Stream stream) {
  const bool whole = aligned(layer.keys) && aligned(layer.values);
  const bool narrow = step.dim <= 8 * attention::kHeld;
  const auto kernel =
      whole ? (narrow ? gpt_attention_kernel<T, 8, true> : gpt_attention_kernel<T, 16, true>)
            : (narrow ? gpt_attention_kernel<T, 8, false> : gpt_attention_kernel<T, 16, false>);
  // No row has more parts than one per kLeastTokens tokens.
  const std::int64_t tokens = step.longest + gpt::kLeastTokens;
  const std::int64_t parts =
      tokens / gpt::kLeastTokens < gpt::kMostParts ? tokens / gpt::kLeastTokens : gpt::kMostParts;
  launch(kernel,
         dim3(static_cast<unsigned>(parts), static_cast<unsigned>(step.heads),
              static_cast<unsigned>(batch)),
         dim3(kAttentionThreads), 0, stream, step, static_cast<const T*>(layer.keys),
         static_cast<const T*>(layer.values));
}

// Floats of the arrays of a step, each a multiple of 16 bytes.
struct Room {
  std::int64_t stream, queries, parts, stats, inner;

  Room(std::int64_t batch, std::int64_t width, std::int64_t inner_width, std::int64_t heads)
      : stream(whole(batch * width)),
        queries(whole(batch * width)),
        parts(whole(batch * gpt::kMostParts * width)),
        stats(whole(batch * heads * gpt::kMostParts * 2)),
        inner(whole(batch * inner_width)) {}

  std::int64_t bytes() const { return 4 * (stream + queries + parts + stats + inner); }
  static std::int64_t whole(std::int64_t n) { return (n + 3) / 4 * 4; }
};

bool is_matrix(const Tensor& t, std::int64_t rows, std::int64_t columns, DType dtype) {
  return t.ndim == 2 && t.shape[0] == rows && t.shape[1] == columns && t.dtype == dtype &&
         t.contiguous();
}

bool is_bias(const Tensor& t, std::int64_t size, DType dtype) {
  return t.numel() == 0 ||
         (t.ndim == 1 && t.shape[0] == size && t.dtype == dtype && t.contiguous());
}

template <class T>
const T* given(const Tensor& t) {
  return t.numel() == 0 ? nullptr : t.as<T>();
}

template <class T>
void run_step(Step<T> step, const std::vector<Tensor>& weights, const Tensor& keys,
              const Tensor& values, int inner_width, std::int64_t first, int rows, Stream stream) {
  const int layers = static_cast<int>(keys.shape[0]), batch = static_cast<int>(keys.shape[1]);
  const int width = step.width;
  const std::int64_t of_layer = keys.numel() / (layers == 0 ? 1 : layers);
  for (int l = 0; l < layers; ++l) {
    const Tensor* w = weights.data() + kPerLayer * l;
    T* const k = keys.as<T>() + l * of_layer;
    T* const v = values.as<T>() + l * of_layer;
    const auto layer = [&](int norm, int matrix, int n, int depth) {
      const bool normed = norm >= 0;
      return Layer<T>{w[matrix].as<T>(),
                      given<T>(w[matrix + 1]),
                      normed ? given<T>(w[norm]) : nullptr,
                      normed ? given<T>(w[norm + 1]) : nullptr,
                      k,
                      v,
                      n,
                      depth,
                      false,
                      l == 0 && matrix <= 4};
    };
    multiply<gpt::Qkv>(step, layer(0, 2, 3 * width, width), batch, stream);
    attend(step, layer(-1, 2, 0, width), batch, stream);
    multiply<gpt::Out>(step, layer(-1, 4, width, width), batch, stream);
    multiply<gpt::Up>(step, layer(6, 8, inner_width, width), batch, stream);
    multiply<gpt::Down>(step, layer(-1, 10, width, inner_width), batch, stream);
  }
  const Tensor* last = weights.data() + kPerLayer * layers;
  multiply<gpt::Head>(
      step,
      Layer<T>{last[2].as<T>() + first * width, nullptr, given<T>(last[0]), given<T>(last[1]),
               nullptr, nullptr, rows, width, false, layers == 0},
      batch, stream);
}

}  // namespace

std::int64_t gpt_decode_step_workspace_bytes(std::int64_t batch, std::int64_t width,
                                             std::int64_t inner, std::int64_t heads) {
  return Room(batch, width, inner, heads).bytes();
}

// The kernels read the weights where they are.
std::int64_t gpt_decode_step_packed_bytes(std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                                          int) {
  return 0;
}

void gpt_decode_step_pack(const Tensor&, const std::vector<Tensor>&, std::int64_t, int, Stream) {
  check(false, "gpt_decode_step_pack: these kernels read the weights as they are");
}

// Neither allocates nor synchronises, and reads lengths on the device: a graph of it serves any
// lengths up to `longest`, whose value changes no result. (From 448 on it changes no launch either,
// so that a graph is best captured with capacity - 1.)
void gpt_decode_step(const Tensor& logits, const Tensor& x, const std::vector<Tensor>& weights,
                     const Tensor& keys, const Tensor& values, const Tensor& lengths,
                     std::int64_t longest, std::int64_t first, int stored, const Tensor& workspace,
                     Stream stream) {
  (void)stored;  // 8-bit weights come as floats, which they are multiples of
  check(x.ndim == 2 && logits.ndim == 2 && keys.ndim == 5 && same_shape(keys, values),
        "gpt_decode_step: expected logits (B, V), x (B, C), keys and values "
        "(L, B, H, S, D)");
  const std::int64_t batch = x.shape[0], width = x.shape[1], rows = logits.shape[1];
  const std::int64_t layers = keys.shape[0], heads = keys.shape[2], capacity = keys.shape[3];
  const std::int64_t dim = keys.shape[4];
  check(keys.shape[1] == batch && heads * dim == width && logits.shape[0] == batch,
        "gpt_decode_step: the shapes of logits, x and keys do not fit");
  check(is_float(x.dtype) && keys.dtype == x.dtype && values.dtype == x.dtype &&
            logits.dtype == DType::kFloat32,
        "gpt_decode_step: x, keys and values must share a float dtype, logits "
        "be float32");
  check(x.contiguous() && logits.contiguous() && keys.contiguous() && values.contiguous(),
        "gpt_decode_step: logits, x, keys and values must be contiguous");
  check(lengths.dtype == DType::kInt64 && lengths.ndim == 1 && lengths.shape[0] == batch &&
            lengths.contiguous(),
        "gpt_decode_step: lengths must be (B,) int64");
  check(dim >= 1 && dim <= attention::kMostDim && dim % attention::kHeld == 0,
        "gpt_decode_step: D must be a multiple of 8 up to 128");
  check(longest >= 0 && longest < capacity && capacity <= 1 << 30,
        "gpt_decode_step: the new token does not fit the cache");
  check(batch <= 65535 && heads <= 65535, "gpt_decode_step: too many rows or heads");
  check(weights.size() == static_cast<std::size_t>(kPerLayer * layers + 3),
        "gpt_decode_step: expected 12 weights per layer and 3 of the head");
  const std::int64_t inner = layers == 0 ? width : weights[8].shape[0];
  for (std::int64_t l = 0; l < layers; ++l) {
    const Tensor* w = weights.data() + kPerLayer * l;
    const bool fit = is_bias(w[0], width, x.dtype) && is_bias(w[1], width, x.dtype) &&
                     is_matrix(w[2], 3 * width, width, x.dtype) &&
                     is_bias(w[3], 3 * width, x.dtype) && is_matrix(w[4], width, width, x.dtype) &&
                     is_bias(w[5], width, x.dtype) && is_bias(w[6], width, x.dtype) &&
                     is_bias(w[7], width, x.dtype) && is_matrix(w[8], inner, width, x.dtype) &&
                     is_bias(w[9], inner, x.dtype) && is_matrix(w[10], width, inner, x.dtype) &&
                     is_bias(w[11], width, x.dtype);
    check(fit,
          "gpt_decode_step: the weights of a layer have other shapes, "
          "dtypes or strides");
  }
  const Tensor* last = weights.data() + kPerLayer * layers;
  check(is_bias(last[0], width, x.dtype) && is_bias(last[1], width, x.dtype) && last[2].ndim == 2 &&
            is_matrix(last[2], last[2].shape[0], width, x.dtype) && first >= 0 &&
            first + rows <= last[2].shape[0],
        "gpt_decode_step: the last norm or the head has another shape, dtype "
        "or strides");
  const Room room(batch, width, inner, heads);
  check(workspace.dtype == DType::kUInt8 && workspace.numel() >= room.bytes() &&
            workspace.contiguous() && aligned(workspace.as<float>()),
        "gpt_decode_step: workspace must be workspace_bytes() of uint8, at a "
        "multiple of 16");
  check(inner <= 1 << 28 && width <= 1 << 28 && rows <= 1 << 30,
        "gpt_decode_step: a matrix is too large");
  if (batch == 0 || rows == 0) return;
  dispatch_float(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    float* const floats = workspace.as<float>();
    float* const queries = floats + room.stream;
    float* const parts = queries + room.queries;
    float* const stats = parts + room.parts;
    const Step<T> step{x.as<T>(),
                       floats,
                       queries,
                       parts,
                       stats,
                       stats + room.stats,
                       logits.as<float>(),
                       lengths.as<std::int64_t>(),
                       longest,
                       static_cast<int>(width),
                       static_cast<int>(heads),
                       static_cast<int>(dim),
                       static_cast<int>(capacity)};
    run_step(step, weights, keys, values, static_cast<int>(inner), first, static_cast<int>(rows),
             stream);
  });
}

}  // namespace vivace
