// SPDX-License-Identifier: Apache-2.0
// Sixteen bytes at a time: one memory transaction per thread, whatever the element type.
#pragma once

#include "core/dtype.h"

namespace vivace {

template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T v[kSize];
};

template <class T>
__device__ inline Pack<T> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T>*>(p);
}

template <class T>
__device__ inline void store_pack(T* p, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(p) = pack;
}

}  // namespace vivace
