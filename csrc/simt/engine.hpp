// SPDX-License-Identifier: Apache-2.0
// The state of the running block, shared by the engine's sources.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "simt/fiber.hpp"
#include "simt/simt.hpp"

namespace simt {

inline constexpr int kMaxThreads = 1024;
inline constexpr int kWarp = 32;
inline constexpr std::uint32_t kFullMask = 0xffffffffu;

// A cp.async that its thread has issued and not waited for.
struct Copy {
  void* dst;
  const void* src;
  int bytes;
  bool in;
  bool landed;
  unsigned group;  // the commit that it belongs to
  Where where;
};

enum class State : std::uint8_t { kUnstarted, kReady, kWaiting, kDone };

struct Thread : ThreadView {
  State state = State::kUnstarted;
  Fiber* fiber = nullptr;
  const char* why = nullptr;  // while waiting: for what, and where
  Where where{};
  std::uint32_t mask = 0;  // of the collective it waits in; 0 for a barrier
  Votes votes{};           // result of the last barrier
  unsigned groups = 0;     // cp.async groups committed so far
  std::vector<Copy> copies;

  int lane() const { return linear % kWarp; }
  int warp() const { return linear / kWarp; }
};

struct Meeting {
  std::uint32_t mask;
  std::uint32_t arrived;
  const char* op;
  Compute compute;
  Where where;
};

struct Warp {
  std::uint32_t alive = 0;  // lanes that exist and have not exited
  int meetings = 0;
  Meeting meeting[kWarp];
  const void* in[kWarp];
  void* out[kWarp];
};

struct Engine {
  Options options;
  std::uint64_t random_state = 0;
  const void* kernel = nullptr;
  int threads = 0;  // of a block
  int live = 0;     // of them, not exited
  Thread thread[kMaxThreads];
  Warp warp[kMaxThreads / kWarp];
  std::size_t dynamic_bytes = 0;

  std::uint32_t random(std::uint32_t below);
};
SIMT_LOCAL extern Engine engine;

inline Thread& self() { return *static_cast<Thread*>(current); }
inline Thread& lane_of(const Warp& warp, int lane) {
  return engine.thread[(&warp - engine.warp) * kWarp + lane];
}

// fail() on behalf of another thread than the running one.
[[noreturn]] void fail_in(const Thread& thread, const std::string& text, Where where);

// ---- shared memory (shared_memory.cpp) ---------------------------------------------------------

struct Range {
  char* begin;
  char* end;
  bool holds(const void* address, std::size_t bytes) const {
    const char* p = static_cast<const char*>(address);
    return p >= begin && p + bytes <= end;
  }
};
Range static_shared();           // empty in the ASan build, where these arrays are ordinary statics
Range dynamic_shared_range();    // of exactly the launch's size
Range dynamic_shared_guarded();  // with the guard bytes on both sides
void allocate_shared(std::size_t dynamic_bytes);
void poison_shared();  // 0xFF: NaN as any float, -1 as an integer
const char*
damaged_guard();  // "past the end" ... if a kernel wrote outside its dynamic part, else null
// Fails unless [address, address + bytes) is shared memory (the ASan build knows only the dynamic
// part).
void require_shared(const char* op, const void* address, std::size_t bytes, Where where);

// ---- names for people (symbols.cpp) ------------------------------------------------------------

// "csrc/cuda/x.cu:45", inlined callers after it, for a return address inside this library.
std::string source_line(const void* return_address);
std::string text(Where where);
std::string text(const uint3& index);
std::string hex(std::uint32_t mask);

}  // namespace simt
