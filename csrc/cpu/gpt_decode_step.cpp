// SPDX-License-Identifier: Apache-2.0
// One token through a GPT-2 block stack and its head, every weight read once (Radford et al. 2019):
// x += W_o attention(LN(x) W_qkv); x += W_2 gelu(W_1 LN(x)). Packing, checks, memory and threads;
// the loops are in gpt_decode_step.h, avx2/ and avx512/gpt_decode_step.cpp.
#include "cpu/gpt_decode_step.h"

#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/isa.h"
#include "core/scratch.h"
#include "core/team.h"
#include "core/tensor.h"
#include "cpu/panel_pack.h"

namespace vivace {

using DecodeThreadRun = void (*)(const cpu::DecodeStep& step, const cpu::DecodeThread& thread);
namespace avx2 {
void gpt_decode_step(const cpu::DecodeStep& step, const cpu::DecodeThread& thread);
}
namespace avx512 {
void gpt_decode_step(const cpu::DecodeStep& step, const cpu::DecodeThread& thread);
}

namespace {

constexpr int kPerLayer = 12;
constexpr std::int64_t kMostRows = 8;

// Stands in front of the packed weights.
struct Shape {
  std::int64_t layers, width, inner, vocabulary;
  cpu::Stored stored;
};

Shape checked(std::int64_t layers, std::int64_t width, std::int64_t inner, std::int64_t vocabulary,
              int stored) {
  check(layers >= 0 && width >= 16 && width % 16 == 0 && inner >= 1 && vocabulary >= 1,
        "gpt_decode_step: expected layers >= 0, a width of whole 16, inner and "
        "vocabulary >= 1");
  check(stored >= 0 && stored <= 3, "gpt_decode_step: weights are stored in one of 4 ways");
  return {layers, width, inner, vocabulary, static_cast<cpu::Stored>(stored)};
}

// All weights in the order in which a step reads them. Returns the bytes that they take.
struct Weights {
  std::vector<cpu::DecodeLayer> layer;
  const float *norm, *norm_bias;
  cpu::Matrix head;

  std::int64_t lay_out(char* base, const Shape& s) {
    cpu::Cursor at(base);
    at.bytes(sizeof(Shape));
    layer.clear();
    for (std::int64_t i = 0; i < s.layers; ++i) {
      cpu::DecodeLayer l;
      l.norm1 = at.floats(s.width);
      l.norm1_bias = at.floats(s.width);
      l.qkv = at.matrix(3 * s.width, s.width, s.stored, true);
      l.out = at.matrix(s.width, s.width, s.stored, true);
      l.norm2 = at.floats(s.width);
      l.norm2_bias = at.floats(s.width);
      l.up = at.matrix(s.inner, s.width, s.stored, true);
      l.down = at.matrix(s.width, s.inner, s.stored, true);
      layer.push_back(l);
    }
    norm = at.floats(s.width);
    norm_bias = at.floats(s.width);
    head = at.matrix(s.vocabulary, s.width, s.stored, false);
    return at.used();
  }
};

// A vector of a checkpoint, or `absent` everywhere where it is not there; zeros up to `padded`.
void pack_vector(const float* to, std::int64_t padded, const Tensor& from, std::int64_t size,
                 float absent) {
  check(from.numel() == 0 || (from.numel() == size && is_float(from.dtype) && from.contiguous()),
        "gpt_decode_step: a bias or weight of a norm has another size than its "
        "layer");
  float* out = const_cast<float*>(to);
  for (std::int64_t i = 0; i < padded; ++i) {
    out[i] = i >= size ? 0.0f : from.numel() == 0 ? absent : cpu::element(from, i);
  }
}

void pack_matrix(const cpu::Matrix& m, const Tensor& weight, const Tensor* bias, int threads) {
  check(weight.ndim == 2 && weight.shape[0] == m.outputs && weight.shape[1] == m.depth &&
            is_float(weight.dtype) && weight.contiguous(),
        "gpt_decode_step: a matrix has another shape than its layer, or is not "
        "contiguous");
  check(m.stored == cpu::Stored::kInt8 || m.stored == cpu::stored_as(weight.dtype),
        "gpt_decode_step: a matrix has another dtype than it is to be stored as");
  if (bias != nullptr) {
    pack_vector(m.bias, cpu::panels_of(m.outputs) * cpu::kPanel, *bias, m.outputs, 0.0f);
  }
  cpu::pack_panels(m, weight, threads, [&](std::int64_t panel, int i) {
    const std::int64_t row = panel * cpu::kPanel + i;
    return row < m.outputs ? row : -1;
  });
}

std::int64_t padded(std::int64_t n) { return cpu::panels_of(n) * cpu::kPanel; }

}  // namespace

std::int64_t gpt_decode_step_packed_bytes(std::int64_t layers, std::int64_t width,
                                          std::int64_t inner, std::int64_t vocabulary, int stored) {
  return Weights().lay_out(nullptr, checked(layers, width, inner, vocabulary, stored));
}

// Activations live in the calling thread's scratch.
std::int64_t gpt_decode_step_workspace_bytes(std::int64_t, std::int64_t, std::int64_t,
                                             std::int64_t) {
  return 0;
}

void gpt_decode_step_pack(const Tensor& out, const std::vector<Tensor>& dense, std::int64_t inner,
                          int stored, Stream stream) {
  check(dense.size() % kPerLayer == 3 && dense.back().ndim == 2,
        "gpt_decode_step: expected 12 weights per layer, 2 of the last norm "
        "and the head (V, C)");
  const Tensor& head = dense.back();
  const auto layers = static_cast<std::int64_t>(dense.size() / kPerLayer);
  const Shape shape = checked(layers, head.shape[1], inner, head.shape[0], stored);
  Weights w;
  check(out.dtype == DType::kUInt8 && out.contiguous() && out.numel() == w.lay_out(nullptr, shape),
        "gpt_decode_step: out must be gpt_decode_step_packed_bytes of uint8");
  expect_writes(out.data, out.numel());
  std::memcpy(out.data, &shape, sizeof(Shape));
  w.lay_out(out.as<char>(), shape);
  const int threads = stream.threads();
  const Tensor* from = dense.data();
  for (const cpu::DecodeLayer& l : w.layer) {
    pack_vector(l.norm1, shape.width, from[0], shape.width, 1.0f);
    pack_vector(l.norm1_bias, shape.width, from[1], shape.width, 0.0f);
    pack_matrix(l.qkv, from[2], &from[3], threads);
    pack_matrix(l.out, from[4], &from[5], threads);
    pack_vector(l.norm2, shape.width, from[6], shape.width, 1.0f);
    pack_vector(l.norm2_bias, shape.width, from[7], shape.width, 0.0f);
    pack_matrix(l.up, from[8], &from[9], threads);
    pack_matrix(l.down, from[10], &from[11], threads);
    from += kPerLayer;
  }
  pack_vector(w.norm, shape.width, from[0], shape.width, 1.0f);
  pack_vector(w.norm_bias, shape.width, from[1], shape.width, 0.0f);
  pack_matrix(w.head, head, nullptr, threads);
}

void gpt_decode_step(const Tensor& logits, const Tensor& x, const std::vector<Tensor>& weights,
                     const Tensor& keys, const Tensor& values, const Tensor& lengths,
                     std::int64_t longest, std::int64_t first, int stored, const Tensor&,
                     Stream stream) {
  check(x.ndim == 2 && keys.ndim == 5 && same_shape(keys, values) && logits.ndim == 2,
        "gpt_decode_step: expected x (B, C), keys and values (L, B, H, S, D), "
        "logits (B, rows)");
  const std::int64_t batch = x.shape[0], width = x.shape[1];
  check(is_float(x.dtype) && keys.dtype == x.dtype && values.dtype == x.dtype && x.contiguous() &&
            keys.contiguous() && values.contiguous(),
        "gpt_decode_step: x, keys and values must share a float dtype and be "
        "contiguous");
  check(batch >= 1 && batch <= kMostRows && keys.shape[1] == batch &&
            keys.shape[2] * keys.shape[4] == width && keys.shape[4] <= cpu::kMostDim &&
            keys.shape[4] % 8 == 0,
        "gpt_decode_step: expected 1 to 8 rows and heads of 8, 16 .. 128 "
        "channels");
  check(lengths.dtype == DType::kInt64 && lengths.ndim == 1 && lengths.shape[0] == batch &&
            lengths.contiguous(),
        "gpt_decode_step: lengths must be (B,) int64");
  check(logits.dtype == DType::kFloat32 && logits.shape[0] == batch && logits.contiguous() &&
            logits.shape[1] >= 1,
        "gpt_decode_step: logits must be (B, rows) float32");
  for (std::int64_t b = 0; b < batch; ++b) {
    const std::int64_t length = lengths.as<std::int64_t>()[b];
    check(length >= 0 && length <= longest && length < keys.shape[3],
          "gpt_decode_step: lengths must be from 0 to `longest`, below the "
          "cache's capacity");
  }
  check(weights.size() == 1 && weights[0].dtype == DType::kUInt8 && weights[0].contiguous() &&
            weights[0].numel() > static_cast<std::int64_t>(sizeof(Shape)),
        "gpt_decode_step: weights must be one tensor, of gpt_decode_step_pack");
  Shape shape;
  std::memcpy(&shape, weights[0].data, sizeof(Shape));
  Weights w;
  check(shape.layers == keys.shape[0] && shape.width == width &&
            static_cast<int>(shape.stored) == stored &&
            weights[0].numel() == w.lay_out(nullptr, shape),
        "gpt_decode_step: the weights were packed for another model");
  check(first >= 0 && first + logits.shape[1] <= shape.vocabulary,
        "gpt_decode_step: the head has fewer rows than are asked for");
  w.lay_out(weights[0].as<char>(), shape);
  const auto kernel = isa::best<DecodeThreadRun>(
      {{isa::kAvx2, avx2::gpt_decode_step}, {isa::kAvx512, avx512::gpt_decode_step}});
  check(kernel != nullptr, "gpt_decode_step: this CPU has neither AVX2 nor AVX-512");

  const int threads = usable_threads(stream.threads());
  const std::int64_t row = padded(width), scores = padded(keys.shape[3]);
  const std::int64_t shared = batch * (2 * row + padded(3 * width) + padded(shape.inner));
  const std::int64_t own = batch * row + scores;
  float* memory = static_cast<float*>(scratch(4 * (shared + threads * own)));
  for (std::int64_t i = 0; i < shared + threads * own; ++i) memory[i] = 0.0f;

  cpu::DecodeStep s;
  s.layer = w.layer.data();
  s.layers = static_cast<int>(shape.layers);
  s.norm = w.norm;
  s.norm_bias = w.norm_bias;
  s.head = w.head;
  s.batch = batch;
  s.width = width;
  s.inner = shape.inner;
  s.heads = keys.shape[2];
  s.dim = keys.shape[4];
  s.capacity = keys.shape[3];
  s.dtype = x.dtype;
  s.lengths = lengths.as<std::int64_t>();
  s.keys = keys.as<char>();
  s.values = values.as<char>();
  s.x = memory;
  s.seen = s.x + batch * row;
  s.qkv = s.seen + batch * row;
  s.up = s.qkv + batch * padded(3 * width);
  s.logits = logits.as<float>();
  s.first = first;
  s.rows = logits.shape[1];
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < width; ++i) s.x[b * row + i] = cpu::element(x, b * width + i);
  }
  static Patience patience;
  parallel_team(threads, patience, [&](const Member& member) {
    float* normal = memory + shared + member.rank * own;
    const auto wait = [](const void* team) { static_cast<const Member*>(team)->wait(); };
    kernel(s, {member.rank, member.size, normal, normal + batch * row, wait, &member});
  });
}

}  // namespace vivace
