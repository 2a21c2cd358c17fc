// SPDX-License-Identifier: Apache-2.0
// The Vec of AVX2 with the loads of panel.h.
#pragma once

#include "cpu/avx2/vec.h"

namespace vivace::avx2 {
namespace {

struct PanelVec : Vec {
  static constexpr int kMost = 2;    // rows that share the loads of the weights
  static constexpr int kChains = 1;  // of sums: two rows take eight registers of sixteen

  static void panel(Reg (&w)[4], const float* p) {
    for (int i = 0; i < 4; ++i) w[i] = _mm256_loadu_ps(p + 8 * i);
  }
  static void panel(Reg (&w)[4], const cpu::Float16* p) {
    for (int i = 0; i < 4; ++i) w[i] = load(p + 8 * i);
  }
  static void panel(Reg (&w)[4], const cpu::BFloat16* p) {
    for (int i = 0; i < 2; ++i) {
      const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16 * i));
      w[i] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
      w[i + 2] = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-65536)));
    }
  }
  static void panel(Reg (&w)[4], const std::int8_t* p) {
    for (int i = 0; i < 4; ++i) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8 * i));
      w[i] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    }
  }
};

}  // namespace
}  // namespace vivace::avx2
