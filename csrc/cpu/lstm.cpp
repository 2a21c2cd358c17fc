// SPDX-License-Identifier: Apache-2.0
// The steps of one LSTM layer, W_ih x and the biases being given: i, f, g, o = gates[t] + W_hh h; c
// = σ(f)·c + σ(i)·tanh(g); y[t] = h = σ(o)·tanh(c) (Hochreiter & Schmidhuber 1997). Checks and
// threads, each of which keeps its part of W_hh in its own cache; the loops are in lstm.h.
#include "cpu/lstm.h"

#include "core/check.h"
#include "core/isa.h"
#include "core/scratch.h"
#include "core/team.h"
#include "core/tensor.h"

namespace vivace {

using LstmSteps = void (*)(const cpu::Lstm& p, const cpu::LstmThread& thread);
namespace avx2 {
void lstm(const cpu::Lstm& p, const cpu::LstmThread& thread);
}
namespace avx512 {
void lstm(const cpu::Lstm& p, const cpu::LstmThread& thread);
}

void lstm(const Tensor& y, const Tensor& h, const Tensor& c, const Tensor& gates,
          const Tensor& w_hh, const Tensor& h0, const Tensor& c0, Stream stream) {
  check(y.ndim == 3 && gates.ndim == 3 && w_hh.ndim == 2,
        "lstm: expected y (B, T, C), gates (B, T, 4C) and w_hh (4C, C)");
  const std::int64_t batch = y.shape[0], time = y.shape[1], channels = y.shape[2];
  check(is_float(y.dtype) && w_hh.dtype == y.dtype &&
            (gates.dtype == y.dtype || gates.dtype == DType::kFloat32),
        "lstm: y and w_hh must share a float dtype, gates have it or float32");
  check(gates.shape[0] == batch && gates.shape[1] == time && gates.shape[2] == 4 * channels &&
            w_hh.shape[0] == 4 * channels && w_hh.shape[1] == channels && y.contiguous() &&
            gates.contiguous() && w_hh.contiguous(),
        "lstm: gates must be (B, T, 4C) and w_hh (4C, C), contiguous like y (B, T, C)");
  for (const Tensor* state : {&h, &c, &h0, &c0}) {
    check(state->dtype == DType::kFloat32 && state->ndim == 2 && state->shape[0] == batch &&
              state->shape[1] == channels && state->contiguous(),
          "lstm: h, c, h0 and c0 must be (B, C) float32, contiguous");
  }
  check(batch >= 1 && time >= 1 && channels >= 1, "lstm: expected frames and channels");
  const auto kernel =
      isa::best<LstmSteps>({{isa::kAvx2, avx2::lstm}, {isa::kAvx512, avx512::lstm}});
  check(kernel != nullptr, "lstm: this CPU has neither AVX2 nor AVX-512");

  const std::int64_t width = (channels + cpu::kLstmUnits - 1) / cpu::kLstmUnits * cpu::kLstmUnits;
  cpu::Lstm p;
  p.dtype = y.dtype;
  p.gates_dtype = gates.dtype;
  p.y = y.data;
  p.h = h.as<float>();
  p.c = c.as<float>();
  p.gates = gates.data;
  p.w_hh = w_hh.data;
  p.batch = batch;
  p.time = time;
  p.channels = channels;
  p.state = static_cast<float*>(scratch(2 * batch * width * sizeof(float)));
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < width; ++i) {
      const bool inside = i < channels;
      p.state[b * width + i] = inside ? h0.as<float>()[b * channels + i] : 0.0f;
      p.state[(batch + b) * width + i] = 0.0f;
      if (inside) p.c[b * channels + i] = c0.as<float>()[b * channels + i];
    }
  }
  // A step must be worth the wait at its end: some microseconds of work.
  constexpr std::int64_t kWork = 1 << 17;
  const int threads = batch * channels * channels * 4 < kWork ? 1 : stream.threads();
  static Patience patience;
  parallel_team(threads, patience, [&](const Member& member) {
    const auto wait = [](const void* team) { static_cast<const Member*>(team)->wait(); };
    kernel(p, {member.rank, member.size, wait, &member});
  });
}

}  // namespace vivace
