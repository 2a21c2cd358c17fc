// SPDX-License-Identifier: Apache-2.0
// Causal attention of new tokens over a key-value cache: softmax(q·kᵀ / √D) v, Vaswani et al. 2017.
#include "core/check.h"
#include "core/decode_attention.cuh"
#include "core/dtype.h"
#include "core/gpu.cuh"
#include "core/tensor.h"

namespace vivace {
namespace {

using attention::kHeld;
using attention::kMostDim;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

template <class T>
struct Problem {
  T* y;
  const T* qkv;
  T* keys;
  T* values;
  const std::int64_t* lengths;
  std::int64_t batch_stride, head_stride;  // of keys and values, in elements
  std::int64_t longest;
  int heads, time, dim;
};

// One new token of one head of one row per block, whose warps share the tokens that it sees. New
// tokens are read from qkv, never from the cache, to which each block writes its own: no block
// reads what another one writes.
template <class T, int kLanes, bool kAligned>
__global__ void __launch_bounds__(kThreads) causal_attention_kernel(Problem<T> p) {
  __shared__ attention::Shared<kWarps> shared;
  const int head = blockIdx.x, t = blockIdx.y, row = blockIdx.z;
  const std::int64_t given = p.lengths[row];
  // No kernel can raise: what is not within the cache is cut to it.
  const int length = static_cast<int>(given < 0 ? 0 : given > p.longest ? p.longest : given);
  const std::int64_t width = std::int64_t{p.heads} * p.dim;
  const T* const news = p.qkv + row * p.time * 3 * width + head * p.dim;
  const std::int64_t base = row * p.batch_stride + head * p.head_stride;
  T* const keys = p.keys + base;
  T* const values = p.values + base;

  const int element = threadIdx.x % kLanes * kHeld;
  float query[kHeld] = {};
  if (element < p.dim) attention::load_eight<kAligned>(query, news + t * 3 * width + element);

  attention::Part part;
  const auto from = [=](const T* cache, int which) {
    return [=](int token) -> const T* {
      return token < length ? cache + std::int64_t{token} * p.dim
                            : news + ((token - length) * 3 + which) * width;
    };
  };
  attention::attend<kLanes, kAligned>(part, query, from(keys, 1), from(values, 2), 0,
                                      length + t + 1, p.dim);
  const attention::Merged all = attention::merge<kLanes>(part, shared, p.dim);
  if (static_cast<int>(threadIdx.x) >= p.dim) return;
  p.y[(std::int64_t{row} * p.time + t) * width + head * p.dim + threadIdx.x] =
      from_float<T>(all.out / all.sum);
  const std::int64_t at = (std::int64_t{length} + t) * p.dim + threadIdx.x;
  keys[at] = news[(t * 3 + 1) * width + threadIdx.x];
  values[at] = news[(t * 3 + 2) * width + threadIdx.x];
}

template <class T>
void run(const Problem<T>& p, std::int64_t batch, bool aligned, Stream stream) {
  const bool narrow = p.dim <= 8 * kHeld;
  const auto kernel =
      aligned
          ? (narrow ? causal_attention_kernel<T, 8, true> : causal_attention_kernel<T, 16, true>)
          : (narrow ? causal_attention_kernel<T, 8, false> : causal_attention_kernel<T, 16, false>);
  launch(kernel,
         dim3(static_cast<unsigned>(p.heads), static_cast<unsigned>(p.time),
              static_cast<unsigned>(batch)),
         dim3(kThreads), 0, stream, p);
}

}  // namespace

void causal_attention(const Tensor& y, const Tensor& qkv, const Tensor& keys, const Tensor& values,
                      const Tensor& lengths, std::int64_t longest, Stream stream) {
  check(y.ndim == 3 && qkv.ndim == 3 && keys.ndim == 4 && same_shape(keys, values),
        "causal_attention: expected y (B, T, H·D), qkv (B, T, 3·H·D), keys and values "
        "(B, H, S, D)");
  const std::int64_t batch = qkv.shape[0], time = qkv.shape[1];
  const std::int64_t heads = keys.shape[1], capacity = keys.shape[2], dim = keys.shape[3];
  check(qkv.shape[2] == 3 * heads * dim && keys.shape[0] == batch && y.shape[0] == batch &&
            y.shape[1] == time && y.shape[2] == heads * dim,
        "causal_attention: the shapes of y, qkv and keys do not fit");
  check(is_float(qkv.dtype) && y.dtype == qkv.dtype && keys.dtype == qkv.dtype &&
            values.dtype == qkv.dtype,
        "causal_attention: y, qkv, keys and values must share a float dtype");
  check(lengths.dtype == DType::kInt64 && lengths.ndim == 1 && lengths.shape[0] == batch &&
            lengths.contiguous(),
        "causal_attention: lengths must be (B,) int64");
  check(y.contiguous() && qkv.contiguous(), "causal_attention: y and qkv must be contiguous");
  for (int i = 0; i < 4; ++i) {
    check(keys.stride[i] == values.stride[i] || keys.shape[i] <= 1,
          "causal_attention: keys and values must have the same strides");
  }
  check((keys.stride[3] == 1 || dim == 1) && (keys.stride[2] == dim || capacity <= 1),
        "causal_attention: the tokens of a head must follow each other");
  check(dim >= 1 && dim <= kMostDim && dim % kHeld == 0,
        "causal_attention: D must be a multiple of 8 up to 128");
  check(longest >= 0 && longest + time <= capacity && capacity <= 1 << 30,
        "causal_attention: the new tokens do not fit the cache");
  check(time <= 65535 && batch <= 65535, "causal_attention: T and B must be at most 65535");
  if (y.numel() == 0) return;
  dispatch_float(qkv.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Problem<T> p{y.as<T>(),
                       qkv.as<T>(),
                       keys.as<T>(),
                       values.as<T>(),
                       lengths.as<std::int64_t>(),
                       keys.stride[0],
                       keys.stride[1],
                       longest,
                       static_cast<int>(heads),
                       static_cast<int>(time),
                       static_cast<int>(dim)};
    const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(qkv.data) |
                                reinterpret_cast<std::uintptr_t>(keys.data) |
                                reinterpret_cast<std::uintptr_t>(values.data) |
                                keys.stride[0] * sizeof(T) | keys.stride[1] * sizeof(T);
    run(p, batch, bits % 16 == 0, stream);
  });
}

}  // namespace vivace
