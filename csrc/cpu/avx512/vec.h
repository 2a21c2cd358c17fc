// SPDX-License-Identifier: Apache-2.0
// 16 floats of AVX-512, with the loads and stores of every storage type. An anonymous namespace:
// code of one instruction set must never be linked into another's file.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/storage.h"

namespace vivace::avx512 {
namespace {

struct Vec {
  using Reg = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kRows = 14;  // of the register tile of a product: 28 accumulators

  static Reg set(float v) { return _mm512_set1_ps(v); }
  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }    // a·b + c
  static Reg fnma(Reg a, Reg b, Reg c) { return _mm512_fnmadd_ps(a, b, c); }  // c − a·b
  static Reg round(Reg a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
  static Reg abs(Reg a) { return _mm512_abs_ps(a); }
  // `below` where x < 0, else `other`; a NaN takes `other`.
  static Reg negative(Reg x, Reg below, Reg other) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_LT_OQ), other, below);
  }
  // 2^n for whole n in [-126, 127].
  static Reg power(Reg n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
  }
  static float sum(Reg a) { return _mm512_reduce_add_ps(a); }

  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }

  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load(const cpu::Float16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Reg load(const cpu::BFloat16* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store(float* p, Reg v) { _mm512_storeu_ps(p, v); }
  static void store(cpu::Float16* p, Reg v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(cpu::BFloat16* p, Reg v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v));
  }

  // The first n <= 16 elements; loads give 0 for the rest.
  static Reg load(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static Reg load(const cpu::Float16* p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static Reg load(const cpu::BFloat16* p, int n) {
    return widen(_mm256_maskz_loadu_epi16(first(n), p));
  }
  static void store(float* p, Reg v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
  static void store(cpu::Float16* p, Reg v, int n) {
    _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(cpu::BFloat16* p, Reg v, int n) {
    _mm256_mask_storeu_epi16(p, first(n), narrow(v));
  }

 private:
  static Reg widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  // Round to nearest even in integers; a NaN keeps its top bits and stays a NaN.
  static __m256i narrow(Reg v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i kept = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i out = _mm512_mask_blend_epi32(nan, rounded, kept);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(out, 16));
  }
};

}  // namespace
}  // namespace vivace::avx512
