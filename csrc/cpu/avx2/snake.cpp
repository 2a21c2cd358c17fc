// SPDX-License-Identifier: Apache-2.0
// The AVX2 loop of csrc/cpu/snake.cpp: 8 elements at a time, float32 inside; the tail goes through
// a small buffer, so that every element takes the same arithmetic.
#include <immintrin.h>

#include <cstdint>

#include "core/tensor.h"

namespace vivace::avx2 {
namespace {

// The constants and the error bound are those of core/math.cuh.
inline __m256 sin_squared(__m256 x) {
  const __m256 inv_pi = _mm256_set1_ps(0.318309886f);
  const __m256 q = _mm256_round_ps(_mm256_mul_ps(x, inv_pi), _MM_FROUND_TO_NEAREST_INT);
  __m256 r = _mm256_fnmadd_ps(q, _mm256_set1_ps(3.14159274f), x);
  r = _mm256_fnmadd_ps(q, _mm256_set1_ps(-8.74227766e-8f), r);
  const __m256 f = _mm256_mul_ps(r, inv_pi);
  const __m256 u = _mm256_mul_ps(f, f);
  __m256 p = _mm256_fmadd_ps(u, _mm256_set1_ps(0.0772201553f), _mm256_set1_ps(-0.59804519f));
  p = _mm256_fmadd_ps(u, p, _mm256_set1_ps(2.55003138f));
  p = _mm256_fmadd_ps(u, p, _mm256_set1_ps(-5.16770688f));
  p = _mm256_fmadd_ps(u, p, _mm256_set1_ps(3.14159258f));
  const __m256 s = _mm256_mul_ps(f, p);
  return _mm256_mul_ps(s, s);
}

struct Float32 {
  using Storage = float;
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, __m256 v) { _mm256_storeu_ps(p, v); }
};

struct Float16 {
  using Storage = std::uint16_t;
  static __m256 load(const Storage* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store(Storage* p, __m256 v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

struct BFloat16 {
  using Storage = std::uint16_t;
  static __m256 load(const Storage* p) {
    const __m256i wide =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  // Round to nearest even in integers; a NaN keeps its top bits and stays a NaN.
  static void store(Storage* p, __m256 v) {
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
};

template <class Format>
void row(void* y, const void* x, float a, std::int64_t n) {
  using Storage = typename Format::Storage;
  const auto* in = static_cast<const Storage*>(x);
  auto* out = static_cast<Storage*>(y);
  const __m256 alpha = _mm256_set1_ps(a), inverse = _mm256_set1_ps(1.0f / (a + 1e-9f));
  const auto eight = [&](Storage* to, const Storage* from) {
    const __m256 v = Format::load(from);
    Format::store(to, _mm256_fmadd_ps(inverse, sin_squared(_mm256_mul_ps(alpha, v)), v));
  };
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) eight(out + i, in + i);
  if (i == n) return;
  Storage tail[8] = {};
  for (std::int64_t j = i; j < n; ++j) tail[j - i] = in[j];
  eight(tail, tail);
  for (std::int64_t j = i; j < n; ++j) out[j] = tail[j - i];
}

}  // namespace

void snake(void* y, const void* x, DType dtype, float a, std::int64_t n) {
  if (dtype == DType::kFloat32) return row<Float32>(y, x, a, n);
  if (dtype == DType::kFloat16) return row<Float16>(y, x, a, n);
  row<BFloat16>(y, x, a, n);
}

}  // namespace vivace::avx2
