// SPDX-License-Identifier: Apache-2.0
// The race detector: judges accesses by CUDA's ordering rules, not by their outcome (race.cpp).
#pragma once

#include "simt/engine.hpp"

namespace simt::race {

#ifdef VIVACE_SIMT_RACE
inline constexpr bool kOn = true;
#else
inline constexpr bool kOn = false;
#endif

// Where an access stands in the source: a kernel's line, or the return address of a compiler's
// hook.
struct Site {
  Where where{};
  const void* pc = nullptr;
};

void begin_launch();
void begin_block();
void barrier();                                 // all live threads have met
void sync_lanes(int warp, std::uint32_t mask);  // __syncwarp
void fence(Thread& thread);                     // __threadfence
void access(Thread& thread, const void* address, std::size_t bytes, Access kind, Site site);
// Between its issue and its wait nobody may touch the destination of a cp.async.
void copy_issued(Thread& thread, const Copy& copy);
void copy_landed(Thread& thread, const Copy& copy);

}  // namespace simt::race
