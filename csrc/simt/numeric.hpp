// SPDX-License-Identifier: Apache-2.0
// Device-only arithmetic: bit operations, conversions, approximate functions, half and bfloat16.
// The approximate functions make the error that CUDA documents for theirs (programming guide,
// "Intrinsic Functions"), so that an algorithm which needs more accuracy fails here too.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "simt/simt.hpp"

// ---- min and max, for mixed arithmetic types as in CUDA ----------------------------------------

template <class A, class B,
          class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmin(T(a), T(b));
  } else {
    return T(b) < T(a) ? T(b) : T(a);
  }
}
template <class A, class B,
          class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmax(T(a), T(b));
  } else {
    return T(a) < T(b) ? T(b) : T(a);
  }
}

// ---- bits --------------------------------------------------------------------------------------

namespace simt {
template <class To, class From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast: sizes differ");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}
}  // namespace simt

inline int __float_as_int(float x) { return simt::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return simt::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return simt::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return simt::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return simt::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return simt::bit_cast<double>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= ((x >> i) & 1u) << (31 - i);
  return result;
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const std::uint64_t bytes = (std::uint64_t{high} << 32) | low;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned pick = (selector >> (4 * i)) & 15u;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (pick & 7u))) & 0xffu;
    if (pick & 8u) byte = byte & 0x80u ? 0xffu : 0u;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}
inline int __mulhi(int a, int b) { return static_cast<int>((std::int64_t{a} * b) >> 32); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((std::uint64_t{high} << 32) | low) << (shift & 31u) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((std::uint64_t{high} << 32) | low) >> (shift & 31u));
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) {
    c += static_cast<std::int8_t>(a >> (8 * i)) * static_cast<std::int8_t>(b >> (8 * i));
  }
  return c;
}

// ---- conversions -------------------------------------------------------------------------------

namespace simt {
// Out of range saturates and NaN is 0, where a C++ cast would be undefined.
template <class T>
inline T to_integer(double x) {
  if (std::isnan(x)) return 0;
  constexpr double kLow = static_cast<double>(std::numeric_limits<T>::min());
  constexpr double kHigh = static_cast<double>(std::numeric_limits<T>::max());
  if (x <= kLow) return std::numeric_limits<T>::min();
  return x >= kHigh ? std::numeric_limits<T>::max() : static_cast<T>(x);
}
}  // namespace simt

inline int __float2int_rn(float x) { return simt::to_integer<int>(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return simt::to_integer<int>(std::trunc(x)); }
inline int __float2int_rd(float x) { return simt::to_integer<int>(std::floor(x)); }
inline int __float2int_ru(float x) { return simt::to_integer<int>(std::ceil(x)); }
inline unsigned __float2uint_rn(float x) { return simt::to_integer<unsigned>(std::nearbyint(x)); }
inline unsigned __float2uint_rz(float x) { return simt::to_integer<unsigned>(std::trunc(x)); }
inline long long __float2ll_rn(float x) { return simt::to_integer<long long>(std::nearbyint(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }

// ---- float32 -----------------------------------------------------------------------------------

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / std::sqrt(double{x})); }
inline float rsqrtf(float x) { return __frsqrt_rn(x); }
inline float rcbrtf(float x) { return static_cast<float>(1.0 / std::cbrt(double{x})); }
inline float normcdff(float x) {
  return static_cast<float>(0.5 * std::erfc(-double{x} * 0.70710678118654752440));
}
inline float sinpif(float x) {
  return static_cast<float>(std::sin(3.14159265358979323846 * std::remainder(double{x}, 2.0)));
}
inline float cospif(float x) {
  return static_cast<float>(std::cos(3.14159265358979323846 * std::remainder(double{x}, 2.0)));
}
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float fdividef(float a, float b) { return a / b; }

namespace simt {
// The sine unit takes revolutions in float32: for large arguments the rounding of the product is
// the error, and libm's sinf would hide it. Its result carries 22 bits after the point.
inline double revolutions(float x) {
  const float turns = x * 0.15915494309189535f;
  return 6.283185307179586476925 * std::remainder(double{turns}, 1.0);
}
inline float fixed_point(double x) {
  return static_cast<float>(std::nearbyint(x * 4194304.0) / 4194304.0);
}
}  // namespace simt

inline float __sinf(float x) { return simt::fixed_point(std::sin(simt::revolutions(x))); }
inline float __cosf(float x) { return simt::fixed_point(std::cos(simt::revolutions(x))); }
inline void __sincosf(float x, float* sine, float* cosine) {
  *sine = __sinf(x);
  *cosine = __cosf(x);
}
// 2^(x log2 e) with the product rounded to float32: the error grows with |x|.
inline float __expf(float x) { return std::exp2(x * 1.4426950408889634f); }
inline float __exp10f(float x) { return std::exp2(x * 3.3219280948873623f); }
inline float __log2f(float x) { return std::log2(x); }
inline float __logf(float x) { return std::log2(x) * 0.6931471805599453f; }
inline float __log10f(float x) { return std::log2(x) * 0.3010299956639812f; }
inline float __powf(float x, float y) { return std::exp2(y * std::log2(x)); }
inline float __tanf(float x) { return __sinf(x) * (1.0f / __cosf(x)); }
// 2^126 < |b| makes the reciprocal a denormal, which the instruction flushes to zero.
inline float __fdividef(float a, float b) {
  return std::fabs(b) > 8.507059173023462e37f ? (std::isinf(a) ? NAN : 0.0f) : a * (1.0f / b);
}
inline float __tanhf(float x) {  // tanh.approx: 11 bits
  return simt::bit_cast<float>((simt::bit_cast<unsigned>(std::tanh(x)) + 0x800u) & 0xfffff000u);
}

// ---- half and bfloat16: rounded once -----------------------------------------------------------

namespace simt {
inline double widen(__half x) { return __half2float(x); }
inline double widen(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T>
inline T narrow(double x) {
  if constexpr (std::is_same_v<T, __half>) {
    return __double2half(x);
  } else {
    return __double2bfloat16(x);
  }
}
}  // namespace simt

#define SIMT_HALF_TYPE(Scalar, Pair)                                               \
  inline Scalar __hfma(Scalar a, Scalar b, Scalar c) {                             \
    return simt::narrow<Scalar>(simt::widen(a) * simt::widen(b) + simt::widen(c)); \
  }                                                                                \
  inline Scalar __hfma_relu(Scalar a, Scalar b, Scalar c) {                        \
    return simt::narrow<Scalar>(std::fmax(simt::widen(__hfma(a, b, c)), 0.0));     \
  }                                                                                \
  inline Pair __hfma2(Pair a, Pair b, Pair c) {                                    \
    return Pair(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));                     \
  }                                                                                \
  inline Pair __hfma2_relu(Pair a, Pair b, Pair c) {                               \
    return Pair(__hfma_relu(a.x, b.x, c.x), __hfma_relu(a.y, b.y, c.y));           \
  }
SIMT_HALF_TYPE(__half, __half2)
SIMT_HALF_TYPE(__nv_bfloat16, __nv_bfloat162)
#undef SIMT_HALF_TYPE

#define SIMT_HALF_FUNCTION(name, expression)                                         \
  inline __half h##name(__half h) {                                                  \
    const double x = simt::widen(h);                                                 \
    return simt::narrow<__half>(expression);                                         \
  }                                                                                  \
  inline __nv_bfloat16 h##name(__nv_bfloat16 h) {                                    \
    const double x = simt::widen(h);                                                 \
    return simt::narrow<__nv_bfloat16>(expression);                                  \
  }                                                                                  \
  inline __half2 h2##name(__half2 p) { return __half2(h##name(p.x), h##name(p.y)); } \
  inline __nv_bfloat162 h2##name(__nv_bfloat162 p) {                                 \
    return __nv_bfloat162(h##name(p.x), h##name(p.y));                               \
  }
SIMT_HALF_FUNCTION(exp, std::exp(x))
SIMT_HALF_FUNCTION(exp2, std::exp2(x))
SIMT_HALF_FUNCTION(log, std::log(x))
SIMT_HALF_FUNCTION(log2, std::log2(x))
SIMT_HALF_FUNCTION(sin, std::sin(x))
SIMT_HALF_FUNCTION(cos, std::cos(x))
SIMT_HALF_FUNCTION(sqrt, std::sqrt(x))
SIMT_HALF_FUNCTION(rsqrt, 1.0 / std::sqrt(x))
SIMT_HALF_FUNCTION(rcp, 1.0 / x)
SIMT_HALF_FUNCTION(tanh, std::tanh(x))
#undef SIMT_HALF_FUNCTION
