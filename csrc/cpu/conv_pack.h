// SPDX-License-Identifier: Apache-2.0
// Weights in the order in which the products read them: one forward stream.
//
//   float32:  [block of 32 columns][tap][channel][32]; a single column: [tap][channel]
//   bfloat16: [block of 32 columns][plane of 32 channels][tap][half of the columns]
//             [pair of channels][16 columns][2], the two 1 KB tiles of a step
//
// What pads the last block or plane is zero. Compiled without instruction-set flags.
#pragma once

#include <cstring>

#include "core/check.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/conv.h"
#include "cpu/storage.h"

namespace vivace::cpu {

inline int parts(int n, int size) { return (n + size - 1) / size; }

inline std::int64_t packed_bytes(std::int64_t columns, std::int64_t channels, std::int64_t taps,
                                 Products products) {
  const std::int64_t blocks = (columns + kBlock - 1) / kBlock;
  if (products == Products::kBFloat16) {
    return blocks * ((channels + kBlock - 1) / kBlock) * taps * kBlock * kBlock * 2;
  }
  return (columns == 1 ? 1 : blocks * kBlock) * taps * channels * 4;
}

inline float as_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// The element `i` of a weight of any float dtype.
inline float element(const Tensor& t, std::int64_t i) {
  if (t.dtype == DType::kFloat32) return t.as<float>()[i];
  const std::uint32_t half = t.as<std::uint16_t>()[i];
  if (t.dtype == DType::kBFloat16) return as_float(half << 16);
  // float16: shifted into float32's places, the exponent's offset is a product, exact also for
  // subnormal numbers; infinities and NaN keep all exponent bits.
  const std::uint32_t sign = (half & 0x8000) << 16, rest = (half & 0x7fff) << 13;
  if (rest >= 0x0f800000) return as_float(sign | rest | 0x7f800000);
  const float value = as_float(rest) * as_float(0x77800000);  // 2^112
  return sign != 0 ? -value : value;
}

// To the nearest, ties to even; a NaN stays one.
inline std::uint16_t to_bfloat16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// weight(column, channel, tap) -> float for all columns, channels and taps.
template <class Weight>
void pack(void* out, int columns, int channels, int taps, Products products, int threads,
          const Weight& weight) {
  const auto at = [&](int column, int channel, int tap) {
    return column < columns && channel < channels ? weight(column, channel, tap) : 0.0f;
  };
  if (products == Products::kBFloat16) {
    const int planes = parts(channels, kBlock);
    parallel_for(threads, parts(columns, kBlock), [&](std::int64_t block) {
      auto* to = static_cast<std::uint16_t*>(out) + block * planes * taps * kBlock * kBlock;
      for (int plane = 0; plane < planes; ++plane)
        for (int tap = 0; tap < taps; ++tap)
          for (int half = 0; half < 2; ++half)
            for (int pair = 0; pair < 16; ++pair)
              for (int i = 0; i < 32; ++i)
                *to++ = to_bfloat16(at(static_cast<int>(block) * kBlock + half * 16 + i / 2,
                                       plane * kBlock + pair * 2 + i % 2, tap));
    });
    return;
  }
  const int width = columns == 1 ? 1 : kBlock;
  parallel_for(threads, parts(columns, width), [&](std::int64_t block) {
    float* to = static_cast<float*>(out) + block * taps * channels * width;
    for (int tap = 0; tap < taps; ++tap)
      for (int channel = 0; channel < channels; ++channel)
        for (int i = 0; i < width; ++i)
          *to++ = at(static_cast<int>(block) * width + i, channel, tap);
  });
}

// What the packing of every op of the family checks, and announces.
inline void check_pack(const Tensor& out, const Tensor& weight, std::int64_t bytes) {
  check(weight.ndim == 3 && weight.contiguous() && is_float(weight.dtype),
        "pack: a weight must be a contiguous float tensor of three dimensions");
  check(out.dtype == DType::kUInt8 && out.contiguous() && out.numel() == bytes,
        "pack: out must be uint8 of <op>_packed_bytes()");
  expect_writes(out.data, bytes);
}

}  // namespace vivace::cpu
