// SPDX-License-Identifier: Apache-2.0
// DAC's residual unit on the CPU: y = x + W2 snake(W1 * snake(x) + b1) + b2, x cropped to y. What
// lies between the two products stays in the cache. Checks, packing and the split; the loops are in
// <instruction set>/conv.cpp.
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "cpu/conv_run.h"

namespace vivace {
namespace {

constexpr int kTaps = 7;

std::int64_t first_bytes(std::int64_t channels, int products) {
  return cpu::packed_bytes(channels, channels, kTaps, static_cast<Products>(products));
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Few rows are split by columns; all of the middle is there before the second product begins.
void run_in_two_steps(const cpu::Unit& unit, std::int64_t clips, const cpu::Split& split,
                      const cpu::Loops& loops, int threads) {
  const std::int64_t middle =
      (loops.middle_bytes(unit.first.columns, unit.first.rows) + 63) / 64 * 64;
  const std::unique_ptr<void, Free> memory(
      std::aligned_alloc(64, static_cast<std::size_t>(clips * middle)));
  if (memory == nullptr) throw std::bad_alloc();
  const auto of_clip = [&](int clip) { return static_cast<char*>(memory.get()) + clip * middle; };
  cpu::for_parts(unit.first, clips, split, threads,
                 [&](const cpu::Part& part) { loops.unit_first(unit, part, of_clip(part.clip)); });
  cpu::for_parts(unit.first, clips, split, threads,
                 [&](const cpu::Part& part) { loops.unit_second(unit, part, of_clip(part.clip)); });
}

}  // namespace

// Both weights stream from memory: any width fits, but for one column, whose weights are packed for
// dot products.
bool residual_unit_fits(std::int64_t channels, std::int64_t, int) { return channels > 1; }

std::int64_t residual_unit_packed_bytes(std::int64_t channels, std::int64_t, std::int64_t,
                                        std::int64_t, std::int64_t, std::int64_t, int products) {
  return first_bytes(channels, products) +
         cpu::packed_bytes(channels, channels, 1, static_cast<Products>(products));
}

void residual_unit_pack(const Tensor& out, const Tensor& weight1, const Tensor& weight2,
                        int products, Stream stream) {
  check(weight1.ndim == 3 && weight1.shape[0] == weight1.shape[1] && weight1.shape[2] == kTaps &&
            weight2.ndim == 3 && weight2.shape[0] == weight1.shape[0] &&
            weight2.shape[1] == weight1.shape[0] && weight2.shape[2] == 1 &&
            weight1.dtype == weight2.dtype && weight2.contiguous(),
        "residual_unit_pack: weight1 must be (C, C, 7) and weight2 (C, C, 1)");
  const std::int64_t channels = weight1.shape[0];
  cpu::check_pack(out, weight1, residual_unit_packed_bytes(channels, 0, 0, 0, 0, 0, products));
  const auto kind = static_cast<Products>(products);
  const int width = static_cast<int>(channels), threads = stream.threads();
  cpu::pack(out.data, width, width, kTaps, kind, threads, [&](int column, int channel, int tap) {
    return cpu::element(weight1, (column * channels + channel) * kTaps + tap);
  });
  cpu::pack(out.as<char>() + first_bytes(channels, products), width, width, 1, kind, threads,
            [&](int column, int channel, int) {
              return cpu::element(weight2, column * channels + channel);
            });
}

void residual_unit(const Tensor& y, const Tensor& x, const Tensor& packed, const Tensor& alpha1,
                   const Tensor& bias1, const Tensor& alpha2, const Tensor& bias2,
                   const std::optional<Tensor>& lengths, std::int64_t dilation,
                   std::int64_t padding, int products, Stream stream) {
  const cpu::Input in =
      cpu::input_of(x, alpha1, lengths, static_cast<int>(Activation::kSnake), 0.0, false);
  const std::int64_t channels = x.shape[2];
  check(y.ndim == 3 && y.shape[0] == x.shape[0] && y.shape[2] == channels && y.dtype == x.dtype &&
            y.contiguous(),
        "residual_unit: y must be a contiguous (B, T', C) of x's dtype");
  check(dilation >= 1 && dilation < (1 << 20) && padding >= 0 && padding <= 3 * dilation &&
            y.shape[1] == x.shape[1] + 2 * padding - 6 * dilation,
        "residual_unit: dilation, padding and the lengths of x and y do not fit");
  for (const Tensor& vector : {bias1, alpha2, bias2}) {
    check(is_vector(vector, channels, DType::kFloat32),
          "residual_unit: alphas and biases must be (C,) float32");
  }
  check(cpu::is_packed(packed, residual_unit_packed_bytes(channels, 0, 0, 0, 0, 0, products)),
        "residual_unit: the packed weights are of another shape");
  if (y.numel() == 0) return;
  // The vectors of the middle, padded to whole blocks: bias1, alpha2, 1 / (alpha2 + 1e-9).
  const auto width =
      static_cast<std::size_t>(cpu::parts(static_cast<int>(channels), cpu::kBlock)) * cpu::kBlock;
  std::vector<float> middle(3 * width, 0.0f);
  for (std::int64_t i = 0; i < channels; ++i) {
    middle[i] = bias1.as<float>()[i];
    middle[width + i] = alpha2.as<float>()[i];
    middle[2 * width + i] = 1.0f / (alpha2.as<float>()[i] + 1e-9f);
  }
  const std::int64_t skipped = (3 * dilation - padding) * channels * cpu::size_of(x.dtype);
  const cpu::Unit unit{{in,
                        kTaps,
                        1,
                        static_cast<int>(dilation),
                        static_cast<int>(padding),
                        static_cast<int>(y.shape[1]),
                        static_cast<int>(channels),
                        packed.data,
                        {nullptr, y.dtype, 0, 0, middle.data(), nullptr, 0, false}},
                       middle.data() + width,
                       middle.data() + 2 * width,
                       packed.as<char>() + first_bytes(channels, products),
                       {y.data, y.dtype, y.shape[1] * channels, 0, bias2.as<float>(),
                        x.as<char>() + skipped, in.clip, false}};
  expect_writes(y.data, y.numel() * cpu::size_of(y.dtype));
  const cpu::Loops& loops = cpu::loops_for(products);
  const int threads = stream.threads();
  const cpu::Split split = cpu::split(unit.first, x.shape[0], loops, threads);
  if (split.block_pieces > 1) return run_in_two_steps(unit, x.shape[0], split, loops, threads);
  cpu::for_parts(unit.first, x.shape[0], split, threads,
                 [&](const cpu::Part& part) { loops.unit(unit, part); });
}

}  // namespace vivace
