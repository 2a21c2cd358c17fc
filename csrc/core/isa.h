// SPDX-License-Identifier: Apache-2.0
// Which instruction set the CPU kernels use: asked once, capped by VIVACE_CPU or set_isa().
#pragma once

#include <initializer_list>

namespace vivace::isa {

enum Level : int { kGeneric = 0, kAvx2 = 1, kAvx512 = 2, kAmx = 3 };

// What this CPU and operating system can run, whatever the cap says.
Level detected();
// min(detected, cap); the cap is VIVACE_CPU (generic | avx2 | avx512 | amx) or the last set_cap().
Level active();
// Throws std::invalid_argument for an unknown name; "" removes the cap.
void set_cap(const char* name);
const char* name(Level level);

// The best version of a kernel that may run here; nullptr when there is none.
template <class F>
struct Version {
  Level level;
  F function;
};

template <class F>
F best(std::initializer_list<Version<F>> versions) {
  F found = nullptr;
  int level = -1;
  for (const auto& v : versions) {
    if (v.level <= active() && v.level > level) {
      found = v.function;
      level = v.level;
    }
  }
  return found;
}

}  // namespace vivace::isa
