// SPDX-License-Identifier: Apache-2.0
// Residual vector quantisation, encoding (arXiv:2306.06546, 2107.03312). For every codebook: p =
// W_in r + b_in; the row nearest in direction; r −= W_out (p + (q − p)) + b_out; all in float32.
// Checks and threads; the loops are in rvq_encode.h, avx2/ and avx512/rvq_encode.cpp.
#include "cpu/rvq_encode.h"

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
  const RvqCall call = checked_rvq_encode(codes, latents, quantized, z, in_weight, in_bias,
                                          out_weight, out_bias, codebooks);
  check(call.dim >= 1, "rvq_encode: d must be at least 1");
  check(call.rows >= 1 && call.rows <= 1 << 27,
        "rvq_encode: a codebook must have from 1 to 2^27 rows");
  const auto kernel = isa::best<RvqEncodeFrames>(
      {{isa::kAvx2, avx2::rvq_encode}, {isa::kAvx512, avx512::rvq_encode}});
  check(kernel != nullptr, "rvq_encode: this CPU has neither AVX2 nor AVX-512");
  if (call.frames == 0) return;
  const cpu::RvqEncode problem{call.tensors, call.width, call.books, call.rows, call.dim};
  run(problem, call.frames, usable_threads(stream.threads()), kernel);
}

}  // namespace vivace
