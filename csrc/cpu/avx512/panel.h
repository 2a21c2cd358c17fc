// SPDX-License-Identifier: Apache-2.0
// The Vec of AVX-512 with the loads of panel.h.
#pragma once

#include "cpu/avx512/vec.h"

namespace vivace::avx512 {
namespace {

struct PanelVec : Vec {
  static constexpr int kMost = 4;    // rows that share the loads of the weights
  static constexpr int kChains = 2;  // of sums: with one row, two registers alone would wait

  static void panel(Reg (&w)[2], const float* p) {
    w[0] = _mm512_loadu_ps(p);
    w[1] = _mm512_loadu_ps(p + 16);
  }
  static void panel(Reg (&w)[2], const cpu::Float16* p) {
    w[0] = load(p);
    w[1] = load(p + 16);
  }
  static void panel(Reg (&w)[2], const cpu::BFloat16* p) {
    const __m512i pairs = _mm512_loadu_si512(p);
    w[0] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    w[1] = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536)));
  }
  static void panel(Reg (&w)[2], const std::int8_t* p) {
    w[0] = widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    w[1] = widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16)));
  }

 private:
  static Reg widen(__m128i v) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v)); }
};

}  // namespace
}  // namespace vivace::avx512
