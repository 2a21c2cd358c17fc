// SPDX-License-Identifier: Apache-2.0
// Residual vector quantisation, encoding (arXiv:2306.06546, 2107.03312). For every codebook: p =
// W_in r + b_in; the row nearest in direction; r −= W_out (p + (q − p)) + b_out; all in float32.
// Checks and threads; the loops are in rvq_encode.h, avx2/ and avx512/rvq_encode.cpp.
#include "cpu/rvq_encode.h"

#include <initializer_list>

#include "core/check.h"
#include "core/isa.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/tensor.h"

namespace vivace {

// Frames [begin, end) of the problem.
using RvqEncodeFrames = void (*)(const cpu::RvqEncode& p, const cpu::RvqScratch& s,
                                 std::int64_t begin, std::int64_t end);
namespace avx2 {
void rvq_encode(const cpu::RvqEncode& p, const cpu::RvqScratch& s, std::int64_t begin,
                std::int64_t end);
}
namespace avx512 {
void rvq_encode(const cpu::RvqEncode& p, const cpu::RvqScratch& s, std::int64_t begin,
                std::int64_t end);
}

namespace {

// A second thread pays from here on: packing a codebook costs as much as 16 frames.
constexpr std::int64_t kFramesOfThread = 32;

std::int64_t rounded(std::int64_t n) {
  return (n + cpu::kRvqLanes - 1) / cpu::kRvqLanes * cpu::kRvqLanes;
}

// The parts of one thread's scratch behind `memory`, each at a multiple of 64 bytes; returns how
// many floats they take. Without memory it only counts.
std::int64_t split(cpu::RvqScratch& s, float* memory, const cpu::RvqEncode& p,
                   std::int64_t frames) {
  std::int64_t used = 0;
  const auto take = [&](float*& part, std::int64_t floats) {
    part = memory == nullptr ? nullptr : memory + used;
    used += rounded(floats);
  };
  const std::int64_t latents = p.dim * cpu::kRvqLanes;
  take(s.residual, frames * p.width);
  take(s.codebook, rounded(p.rows) * p.dim);
  take(s.square, p.rows);
  take(s.out_weight, rounded(p.width) * p.dim);
  take(s.latent, latents);
  take(s.twice, latents);
  take(s.length, cpu::kRvqLanes);
  take(s.step, latents);
  return used;
}

void run(const cpu::RvqEncode& p, std::int64_t frames, int threads, RvqEncodeFrames kernel) {
  const std::int64_t useful = (frames + kFramesOfThread - 1) / kFramesOfThread;
  const std::int64_t parts = useful < threads ? useful : threads;
  const std::int64_t each = (frames + parts - 1) / parts;
  const std::int64_t held = each < cpu::kRvqFrames ? each : cpu::kRvqFrames;
  cpu::RvqScratch unused;
  const std::int64_t floats = split(unused, nullptr, p, held);
  parallel_for(threads, parts, [&](std::int64_t i) {
    cpu::RvqScratch own;
    split(own, static_cast<float*>(scratch(floats * sizeof(float))), p, held);
    const std::int64_t begin = i * each, end = begin + each < frames ? begin + each : frames;
    kernel(p, own, begin, end);
  });
}

}  // namespace

void rvq_encode(const Tensor& codes, const Tensor& latents, const Tensor& quantized,
                const Tensor& z, const Tensor& in_weight, const Tensor& in_bias,
                const Tensor& out_weight, const Tensor& out_bias, const Tensor& codebooks,
                Stream stream) {
  check(z.ndim == 3 && codebooks.ndim == 3,
        "rvq_encode: expected z (B, T, D) and codebooks (N, K, d)");
  const std::int64_t batch = z.shape[0], time = z.shape[1], width = z.shape[2];
  const std::int64_t books = codebooks.shape[0], rows = codebooks.shape[1];
  const std::int64_t dim = codebooks.shape[2];
  const auto is = [](const Tensor& t, DType dtype, std::initializer_list<std::int64_t> shape) {
    if (t.dtype != dtype || t.ndim != static_cast<int>(shape.size())) return false;
    int i = 0;
    for (const std::int64_t size : shape) {
      if (t.shape[i++] != size) return false;
    }
    return t.contiguous();
  };
  constexpr DType kFloat = DType::kFloat32;
  check(is(codes, DType::kInt64, {batch, time, books}),
        "rvq_encode: codes must be (B, T, N) int64, contiguous");
  check(is(latents, kFloat, {batch, time, books * dim}) &&
            is(quantized, kFloat, {batch, time, width}) && is(z, kFloat, {batch, time, width}),
        "rvq_encode: latents (B, T, N * d), quantized and z (B, T, D) must be contiguous float32");
  check(is(in_weight, kFloat, {books, dim, width}) && is(in_bias, kFloat, {books, dim}) &&
            is(out_weight, kFloat, {books, width, dim}) && is(out_bias, kFloat, {books, width}) &&
            is(codebooks, kFloat, {books, rows, dim}),
        "rvq_encode: the weights must be contiguous float32: in_weight (N, d, D), in_bias (N, d), "
        "out_weight (N, D, d), out_bias (N, D), codebooks (N, K, d)");
  check(dim >= 1, "rvq_encode: d must be at least 1");
  check(rows >= 1 && rows <= 1 << 27, "rvq_encode: a codebook must have from 1 to 2^27 rows");
  const auto kernel = isa::best<RvqEncodeFrames>(
      {{isa::kAvx2, avx2::rvq_encode}, {isa::kAvx512, avx512::rvq_encode}});
  check(kernel != nullptr, "rvq_encode: this CPU has neither AVX2 nor AVX-512");
  if (batch * time == 0) return;
  const cpu::RvqEncode problem{codes.as<std::int64_t>(),
                               latents.as<float>(),
                               quantized.as<float>(),
                               z.as<float>(),
                               in_weight.as<float>(),
                               in_bias.as<float>(),
                               out_weight.as<float>(),
                               out_bias.as<float>(),
                               codebooks.as<float>(),
                               width,
                               books,
                               rows,
                               dim};
  run(problem, batch * time, usable_threads(stream.threads()), kernel);
}

}  // namespace vivace
