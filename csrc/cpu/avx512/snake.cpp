// SPDX-License-Identifier: Apache-2.0
// The AVX-512 loop of csrc/cpu/snake.cpp: 16 elements at a time, float32 inside, masked tail.
#include <immintrin.h>

#include <cstdint>

#include "core/tensor.h"

namespace vivace::avx512 {
namespace {

// The constants and the error bound are those of core/math.cuh.
inline __m512 sin_squared(__m512 x) {
  const __m512 inv_pi = _mm512_set1_ps(0.318309886f);
  const __m512 q = _mm512_roundscale_ps(_mm512_mul_ps(x, inv_pi), _MM_FROUND_TO_NEAREST_INT);
  __m512 r = _mm512_fnmadd_ps(q, _mm512_set1_ps(3.14159274f), x);
  r = _mm512_fnmadd_ps(q, _mm512_set1_ps(-8.74227766e-8f), r);
  const __m512 f = _mm512_mul_ps(r, inv_pi);
  const __m512 u = _mm512_mul_ps(f, f);
  __m512 p = _mm512_fmadd_ps(u, _mm512_set1_ps(0.0772201553f), _mm512_set1_ps(-0.59804519f));
  p = _mm512_fmadd_ps(u, p, _mm512_set1_ps(2.55003138f));
  p = _mm512_fmadd_ps(u, p, _mm512_set1_ps(-5.16770688f));
  p = _mm512_fmadd_ps(u, p, _mm512_set1_ps(3.14159258f));
  const __m512 s = _mm512_mul_ps(f, p);
  return _mm512_mul_ps(s, s);
}

struct Float32 {
  using Storage = float;
  static __m512 load(const float* p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }
  static void store(float* p, __mmask16 m, __m512 v) { _mm512_mask_storeu_ps(p, m, v); }
};

struct Float16 {
  using Storage = std::uint16_t;
  static __m512 load(const Storage* p, __mmask16 m) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
  }
  static void store(Storage* p, __mmask16 m, __m512 v) {
    _mm256_mask_storeu_epi16(p, m, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

struct BFloat16 {
  using Storage = std::uint16_t;
  static __m512 load(const Storage* p, __mmask16 m) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  // Round to nearest even in integers; a NaN keeps its top bits and stays a NaN.
  static void store(Storage* p, __mmask16 m, __m512 v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i kept = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i out = _mm512_mask_blend_epi32(nan, rounded, kept);
    _mm256_mask_storeu_epi16(p, m, _mm512_cvtepi32_epi16(_mm512_srli_epi32(out, 16)));
  }
};

template <class Format>
void row(void* y, const void* x, float a, std::int64_t n) {
  const auto* in = static_cast<const typename Format::Storage*>(x);
  auto* out = static_cast<typename Format::Storage*>(y);
  const __m512 alpha = _mm512_set1_ps(a), inverse = _mm512_set1_ps(1.0f / (a + 1e-9f));
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 m = n - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (n - i)) - 1);
    const __m512 v = Format::load(in + i, m);
    Format::store(out + i, m, _mm512_fmadd_ps(inverse, sin_squared(_mm512_mul_ps(alpha, v)), v));
  }
}

}  // namespace

void snake(void* y, const void* x, DType dtype, float a, std::int64_t n) {
  if (dtype == DType::kFloat32) return row<Float32>(y, x, a, n);
  if (dtype == DType::kFloat16) return row<Float16>(y, x, a, n);
  row<BFloat16>(y, x, a, n);
}

}  // namespace vivace::avx512
