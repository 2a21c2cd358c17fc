// SPDX-License-Identifier: Apache-2.0
// What the race detector remembers about memory: for every 8 bytes the latest accesses.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simt/simt.hpp"

namespace simt::race {

// One remembered access to some bytes of a granule.
struct Slot {
  std::uint32_t block;   // serial number of the block within the launch
  std::uint32_t clock;   // of the thread, at the access
  std::uint32_t site;    // see race.cpp
  std::uint16_t thread;  // within the block
  std::uint8_t bytes;    // one bit for each of the eight
  Access kind;
};

constexpr int kSlots = 6;

struct Granule {
  std::uint32_t stamp;   // of the block (shared memory) or launch (global) that the rest is about
  std::uint8_t used;     // slots
  std::uint8_t written;  // bytes that hold a value
  std::uint8_t pending;  // bytes that an unfinished cp.async will write
  Slot slot[kSlots];
};

enum class Space : std::uint8_t { kNone, kShared, kGlobal };

// Memory that needs no judging is kNone: stacks and the engine's own state.
Space space_of(const void* address, std::size_t bytes);
// The granule of an address in this space; `stamp` is set anew where the granule is out of date.
Granule& granule(Space space, std::uintptr_t address);
void new_launch();  // forgets global memory
void new_block();   // forgets shared memory

}  // namespace simt::race
