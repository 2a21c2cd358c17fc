// SPDX-License-Identifier: Apache-2.0
// Activations on registers of floats. V is the Vec of an instruction set (avx2/vec.h,
// avx512/vec.h); being of an anonymous namespace, it keeps every function here inside the file that
// uses it.
#pragma once

#include "core/conv.h"

namespace vivace::cpu {

// sin²(x), period π: no quadrants. The constants and the error bound are those of core/math.cuh.
template <class V>
inline typename V::Reg sin_squared(typename V::Reg x) {
  const auto inv_pi = V::set(0.318309886f);
  const auto q = V::round(V::mul(x, inv_pi));
  auto r = V::fnma(q, V::set(3.14159274f), x);
  r = V::fnma(q, V::set(-8.74227766e-8f), r);
  const auto f = V::mul(r, inv_pi);
  const auto u = V::min(V::set(1.0f), V::mul(f, f));  // in this order a NaN stays
  auto p = V::fma(u, V::set(0.0772201553f), V::set(-0.59804519f));
  p = V::fma(u, p, V::set(2.55003138f));
  p = V::fma(u, p, V::set(-5.16770688f));
  p = V::fma(u, p, V::set(3.14159258f));
  return V::mul(u, V::mul(p, p));
}

// Four terms and one subtraction of the period: within 1e-4 of sin²(x) for |x| <= 1e3, which is
// far below what rounding the result to bfloat16 costs.
template <class V>
inline typename V::Reg sin_squared_short(typename V::Reg x) {
  const auto y = V::mul(x, V::set(0.318309886f));
  const auto f = V::sub(y, V::round(y));
  const auto u = V::mul(f, f);
  auto p = V::fma(u, V::set(-0.554636461f), V::set(2.54189915f));
  p = V::fma(u, p, V::set(-5.16714281f));
  p = V::fma(u, p, V::set(3.14158202f));
  const auto s = V::mul(f, p);
  return V::mul(s, s);
}

// eˣ − 1 for x <= 0, to one part in 1e6 also near 0: 2ⁿ·(eʳ − 1) + (2ⁿ − 1), |r| <= ln2 / 2.
template <class V>
inline typename V::Reg expm1(typename V::Reg x) {
  x = V::max(V::set(-80.0f), x);  // in this order a NaN stays
  const auto n = V::round(V::mul(x, V::set(1.44269504f)));
  auto r = V::fnma(n, V::set(0.693359375f), x);
  r = V::fnma(n, V::set(-2.12194440e-4f), r);
  auto p = V::fma(r, V::set(1.0f / 720), V::set(1.0f / 120));
  p = V::fma(r, p, V::set(1.0f / 24));
  p = V::fma(r, p, V::set(1.0f / 6));
  p = V::fma(r, p, V::set(0.5f));
  p = V::fma(V::mul(r, r), p, r);
  const auto scale = V::power(n);
  return V::fma(scale, p, V::sub(scale, V::set(1.0f)));
}

// tanh(x) = −e / (e + 2) with e = exp(−2|x|) − 1, and the sign of x.
template <class V>
inline typename V::Reg tanh(typename V::Reg x) {
  const auto e = expm1<V>(V::mul(V::abs(x), V::set(-2.0f)));
  const auto t = V::div(e, V::add(e, V::set(2.0f)));
  return V::negative(x, t, V::sub(V::zero(), t));
}

// One kind of activation, with the vectors of its channels.
template <class V, Activation kKind, bool kShort>
inline typename V::Reg activate(typename V::Reg x, typename V::Reg alpha, typename V::Reg inverse,
                                float slope) {
  if constexpr (kKind == Activation::kSnake) {
    const auto argument = V::mul(alpha, x);
    const auto square = kShort ? sin_squared_short<V>(argument) : sin_squared<V>(argument);
    return V::fma(inverse, square, x);
  } else if constexpr (kKind == Activation::kElu) {
    return V::negative(x, expm1<V>(x), x);
  } else if constexpr (kKind == Activation::kLeakyRelu) {
    return V::negative(x, V::mul(V::set(slope), x), x);
  } else {
    return x;
  }
}

// 1 / (α + 1e-9), with which Snake scales.
template <class V>
inline typename V::Reg snake_scale(typename V::Reg alpha) {
  return V::div(V::set(1.0f), V::add(alpha, V::set(1e-9f)));
}

}  // namespace vivace::cpu
