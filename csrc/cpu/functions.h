// SPDX-License-Identifier: Apache-2.0
// Elementary functions on registers of floats, beside those of activation.h. V is the Vec of an
// instruction set (avx2/vec.h, avx512/vec.h); being of an anonymous namespace, it keeps every
// function here inside the file that uses it.
#pragma once

#include "cpu/activation.h"

namespace vivace::cpu {

// eˣ for x <= 88 within 2 units in the last place; what is below e⁻⁸⁷ is e⁻⁸⁷.
template <class V>
inline typename V::Reg exp(typename V::Reg x) {
  x = V::max(V::set(-87.0f), x);  // in this order a NaN stays
  const auto n = V::round(V::mul(x, V::set(1.44269504f)));
  auto r = V::fnma(n, V::set(0.693359375f), x);
  r = V::fnma(n, V::set(-2.12194440e-4f), r);
  auto p = V::fma(r, V::set(1.0f / 5040), V::set(1.0f / 720));
  p = V::fma(r, p, V::set(1.0f / 120));
  p = V::fma(r, p, V::set(1.0f / 24));
  p = V::fma(r, p, V::set(1.0f / 6));
  p = V::fma(r, p, V::set(0.5f));
  p = V::fma(V::mul(r, r), p, r);
  return V::mul(V::power(n), V::add(V::set(1.0f), p));
}

// 1 / (1 + e⁻ˣ) = (1 + tanh(x / 2)) / 2.
template <class V>
inline typename V::Reg sigmoid(typename V::Reg x) {
  const auto half = V::set(0.5f);
  return V::fma(half, tanh<V>(V::mul(half, x)), half);
}

// erf within 1.2e-7: x·P(x²) up to 1, beyond it 1 − exp(Q(x)), Q being a fit of log erfc on [1, 4].
template <class V>
inline typename V::Reg erf(typename V::Reg x) {
  const auto a = V::abs(x), u = V::mul(a, a);
  auto p = V::fma(u, V::set(7.88911955e-5f), V::set(-8.02084128e-4f));
  p = V::fma(u, p, V::set(5.18953534e-3f));
  p = V::fma(u, p, V::set(-2.68544446e-2f));
  p = V::fma(u, p, V::set(0.112836002f));
  p = V::fma(u, p, V::set(-0.376126271f));
  p = V::fma(u, p, V::set(1.12837917f));
  const auto b = V::min(V::set(4.0f), a);
  auto q = V::fma(b, V::set(2.5132767e-7f), V::set(-2.53148231e-5f));
  q = V::fma(b, q, V::set(4.63788107e-4f));
  q = V::fma(b, q, V::set(-4.28238291e-3f));
  q = V::fma(b, q, V::set(2.53735563e-2f));
  q = V::fma(b, q, V::set(-0.108638999f));
  q = V::fma(b, q, V::set(-0.633039612f));
  q = V::fma(b, q, V::set(-1.12966116f));
  q = V::fma(b, q, V::set(2.04359932e-4f));
  const auto tail = V::sub(V::zero(), expm1<V>(q));
  const auto size = V::negative(V::sub(a, V::set(1.0f)), V::mul(a, p), tail);
  return V::negative(x, V::sub(V::zero(), size), size);
}

// x·Φ(x), with the exact error function.
template <class V>
inline typename V::Reg gelu(typename V::Reg x) {
  const auto half = V::mul(V::set(0.5f), x);
  return V::fma(half, erf<V>(V::mul(x, V::set(0.707106781f))), half);
}

}  // namespace vivace::cpu
