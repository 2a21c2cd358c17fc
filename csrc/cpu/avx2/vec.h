// SPDX-License-Identifier: Apache-2.0
// 8 floats of AVX2, with the loads and stores of every storage type. An anonymous namespace: code
// of one instruction set must never be linked into another's file.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/storage.h"

namespace vivace::avx2 {
namespace {

struct Vec {
  using Reg = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kRows = 6;  // of the register tile of a product: 12 accumulators

  static Reg set(float v) { return _mm256_set1_ps(v); }
  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }    // a·b + c
  static Reg fnma(Reg a, Reg b, Reg c) { return _mm256_fnmadd_ps(a, b, c); }  // c − a·b
  static Reg round(Reg a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT); }
  static Reg abs(Reg a) { return _mm256_andnot_ps(set(-0.0f), a); }
  // `below` where x < 0, else `other`; a NaN takes `other`.
  static Reg negative(Reg x, Reg below, Reg other) {
    return _mm256_blendv_ps(other, below, _mm256_cmp_ps(x, zero(), _CMP_LT_OQ));
  }
  // 2^n for whole n in [-126, 127].
  static Reg power(Reg n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  static float sum(Reg a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }

  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load(const cpu::Float16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Reg load(const cpu::BFloat16* p) {
    const __m256i wide =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static void store(float* p, Reg v) { _mm256_storeu_ps(p, v); }
  static void store(cpu::Float16* p, Reg v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  // Round to nearest even in integers; a NaN keeps its top bits and stays a NaN.
  static void store(cpu::BFloat16* p, Reg v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i kept = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i out = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, kept, nan), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(out, out), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }

  // The first n <= 8 elements, through a small buffer; loads give 0 for the rest.
  template <class Storage>
  static Reg load(const Storage* p, int n) {
    Storage part[kWidth] = {};
    __builtin_memcpy(part, p, n * sizeof(Storage));
    return load(part);
  }
  template <class Storage>
  static void store(Storage* p, Reg v, int n) {
    Storage part[kWidth];
    store(part, v);
    __builtin_memcpy(p, part, n * sizeof(Storage));
  }
};

}  // namespace
}  // namespace vivace::avx2
