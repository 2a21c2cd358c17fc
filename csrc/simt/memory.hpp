// SPDX-License-Identifier: Apache-2.0
// Loads and stores with cache hints, fences, atomics. Cache hints change nothing here; atomics are
// plain operations, because only one fiber runs at a time, but the race detector is told what they
// are.
#pragma once

#include "simt/simt.hpp"

#define SIMT_LOAD(name)       \
  template <class T>          \
  inline T name(const T* p) { \
    return *p;                \
  }
SIMT_LOAD(__ldg)
SIMT_LOAD(__ldca)
SIMT_LOAD(__ldcg)
SIMT_LOAD(__ldcs)
SIMT_LOAD(__ldlu)
SIMT_LOAD(__ldcv)
#undef SIMT_LOAD

#define SIMT_STORE(name)                                \
  template <class T>                                    \
  inline void name(T* p, std::common_type_t<T> value) { \
    *p = value;                                         \
  }
SIMT_STORE(__stwb)
SIMT_STORE(__stcg)
SIMT_STORE(__stcs)
SIMT_STORE(__stwt)
#undef SIMT_STORE

inline void __threadfence() { simt::fence(); }
inline void __threadfence_system() { simt::fence(); }
inline void __threadfence_block() {}

[[noreturn]] inline void __trap(simt::Where where = simt::here()) { simt::fail("__trap", where); }

namespace simt {

template <class T, class F>
__attribute__((no_sanitize("thread"))) T atomic(T* address, F update, Where where) {
  note(address, sizeof(T), Access::kAtomic, where);
  const T old = *address;
  *address = update(old);
  return old;
}

}  // namespace simt

// The second parameter takes no part in deduction, as with CUDA's overloads: atomicAdd(&float, 1).
#define SIMT_ATOMIC(name, result)                                                        \
  template <class T>                                                                     \
  inline T name(T* address, std::common_type_t<T> v, simt::Where where = simt::here()) { \
    return simt::atomic(address, [v](T old) -> T { return result; }, where);             \
  }
SIMT_ATOMIC(atomicAdd, old + v)
SIMT_ATOMIC(atomicSub, old - v)
SIMT_ATOMIC(atomicMin, v < old ? v : old)
SIMT_ATOMIC(atomicMax, old < v ? v : old)
SIMT_ATOMIC(atomicAnd, old& v)
SIMT_ATOMIC(atomicOr, old | v)
SIMT_ATOMIC(atomicXor, old ^ v)
SIMT_ATOMIC(atomicExch, ((void)old, v))
#undef SIMT_ATOMIC

inline unsigned atomicInc(unsigned* address, unsigned v, simt::Where where = simt::here()) {
  return simt::atomic(address, [v](unsigned old) { return old >= v ? 0 : old + 1; }, where);
}
inline unsigned atomicDec(unsigned* address, unsigned v, simt::Where where = simt::here()) {
  return simt::atomic(
      address, [v](unsigned old) { return old == 0 || old > v ? v : old - 1; }, where);
}
template <class T>
inline T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> v,
                   simt::Where where = simt::here()) {
  return simt::atomic(address, [=](T old) { return old == expected ? v : old; }, where);
}
