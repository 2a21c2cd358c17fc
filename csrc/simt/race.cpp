// SPDX-License-Identifier: Apache-2.0
// Two accesses to the same bytes, one of them a write, race unless one of these orders them:
//   within a block   the same thread; a barrier; a __syncwarp of both lanes (or a chain of them)
//   between blocks   __threadfence behind the first, then an atomic on some address by its thread;
//                    later an atomic on the same address by the second block ("the last block
//                    reduces")
// Atomics do not race with atomics. Shuffles and votes order nothing. Each thread has a clock which
// its synchronisations advance; a slot holds the clock of its access, so "ordered" is a comparison.
#include "simt/race.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "simt/shadow.hpp"

namespace simt::race {
namespace {

using Clocks = std::array<std::uint32_t, kWarp>;

struct ThreadClock {
  std::uint32_t now;
  Clocks known;                 // of each lane of the warp: what is ordered before this thread
  bool fenced;                  // since the block began
  std::uint32_t fence_barrier;  // at the last fence: everything older in the block precedes it,
  Clocks fence_known;           // and this of the own warp
} clocks[kMaxThreads];

std::uint32_t stamp = 0;          // source of clock values, never reset
std::uint32_t barrier_stamp = 0;  // accesses of this block with an older clock are ordered
std::uint32_t block_serial = 0;

// __threadfence by many threads, then a barrier, then the ticket by one of them.
std::vector<std::uint32_t> fences(kMaxThreads);  // clock of each thread's last fence in this block
bool fences_changed = false;
std::shared_ptr<const std::vector<std::uint32_t>> fences_at_barrier;

struct Release {
  std::uint32_t block;
  std::uint32_t barrier;
  int warp;
  Clocks known;
  std::shared_ptr<const std::vector<std::uint32_t>> fences;
};
std::unordered_map<std::uintptr_t, std::vector<Release>> releases;  // by the atomic's address
std::vector<std::uintptr_t> acquired;                               // by the running block

std::vector<Where> lines;  // of sites that are no return addresses
constexpr std::uint32_t kLine = 0x80000000u;
const char* const kBase = reinterpret_cast<const char*>(&clocks);

std::uint32_t encode(Site site) {
  if (site.pc)
    return static_cast<std::uint32_t>(static_cast<const char*>(site.pc) - kBase) & ~kLine;
  for (std::size_t i = lines.size(); i-- > 0;) {
    if (lines[i].file == site.where.file && lines[i].line == site.where.line) {
      return static_cast<std::uint32_t>(i) | kLine;
    }
  }
  lines.push_back(site.where);
  return static_cast<std::uint32_t>(lines.size() - 1) | kLine;
}

std::string describe(std::uint32_t site) {
  if (site & kLine) return text(lines[site & ~kLine]);
  const auto offset = static_cast<std::int32_t>(site << 1) >> 1;  // code lies before or after kBase
  return source_line(kBase + offset);
}

// An inline function of the standard library may have been linked in its instrumented form: what it
// reads and writes on behalf of the detector is none of the kernel's doing.
bool busy = false;
struct Busy {
  Busy() { busy = true; }
  ~Busy() { busy = false; }
};

bool released(const Slot& slot) {
  for (const std::uintptr_t address : acquired) {
    for (const Release& r : releases[address]) {
      if (r.block != slot.block) continue;
      if (slot.clock < r.barrier) return true;
      if (slot.thread / kWarp == r.warp && slot.clock <= r.known[slot.thread % kWarp]) return true;
      if (r.fences && slot.clock < (*r.fences)[slot.thread]) return true;
    }
  }
  return false;
}

bool ordered(const Slot& slot, const Thread& thread) {
  if (slot.block != block_serial) return released(slot);
  if (slot.thread == thread.linear || slot.clock < barrier_stamp) return true;
  return slot.thread / kWarp == thread.warp() &&
         slot.clock <= clocks[thread.linear].known[slot.thread % kWarp];
}

bool conflict(Access a, Access b) {
  if (a == Access::kRead && b == Access::kRead) return false;
  return a != Access::kAtomic || b != Access::kAtomic;
}

const char* verb(Access kind) {
  return kind == Access::kRead ? "reads" : kind == Access::kWrite ? "writes" : "updates atomically";
}
const char* past(Access kind) {
  return kind == Access::kRead ? "read" : kind == Access::kWrite ? "wrote" : "updated atomically";
}

std::string place(Space space, std::uintptr_t address) {
  if (space == Space::kGlobal) return "global memory";
  const auto begin = reinterpret_cast<std::uintptr_t>(dynamic_shared_range().begin);
  if (static_shared().holds(reinterpret_cast<const void*>(address), 1)) {
    return "static shared memory";
  }
  return "byte " + std::to_string(address - begin) + " of dynamic shared memory";
}

[[noreturn]] void report(const Thread& thread, std::uint32_t site, const std::string& what) {
  fail_in(thread, describe(site) + ": " + what, {nullptr, 0});
}

[[noreturn]] void report_race(const Thread& thread, std::uint32_t site, Access kind, Space space,
                              std::uintptr_t address, const Slot& slot) {
  const bool same_block = slot.block == block_serial;
  report(thread, site,
         "race: " + std::string(verb(kind)) + " " + place(space, address) + ", which thread " +
             (same_block ? text(engine.thread[slot.thread].index)
                         : std::to_string(slot.thread) + " of another block") +
             " " + past(slot.kind) + " at " + describe(slot.site) +
             (same_block ? "; no barrier orders the two"
                         : "; blocks are ordered by __threadfence and an atomic ticket only"));
}

std::string issuer(std::uintptr_t address) {
  for (int i = 0; i < engine.threads; ++i) {
    for (const Copy& copy : engine.thread[i].copies) {
      const auto begin = reinterpret_cast<std::uintptr_t>(copy.dst);
      if (address >= begin && address < begin + static_cast<std::size_t>(copy.bytes)) {
        return "thread " + text(engine.thread[i].index) + " at " + text(copy.where);
      }
    }
  }
  return "a thread";
}

// A slot says nothing that the new access does not say as well.
bool implied(const Slot& slot, const Thread& thread, Access kind, std::uint8_t bytes) {
  if ((slot.bytes & ~bytes) != 0) return false;
  if (kind != Access::kWrite && slot.kind != kind) return false;
  return slot.block == block_serial && ordered(slot, thread);
}

void remember(Granule& g, const Thread& thread, std::uint8_t bytes, Access kind,
              std::uint32_t site) {
  int kept = 0;
  for (int i = 0; i < g.used; ++i) {
    if (!implied(g.slot[i], thread, kind, bytes)) g.slot[kept++] = g.slot[i];
  }
  if (kept == kSlots) {
    // Forget what matters least: what is older than the last barrier, a read by the same warp (so
    // that the slots tell of different warps), any read.
    const auto weight = [&](const Slot& s) {
      const bool old = s.block == block_serial && s.clock < barrier_stamp;
      const bool same_warp = s.block == block_serial && s.thread / kWarp == thread.warp();
      if (old) return s.kind == Access::kRead ? 0 : 1;
      return s.kind != Access::kRead ? 4 : same_warp ? 2 : 3;
    };
    Slot* victim = std::min_element(g.slot, g.slot + kSlots, [&](const Slot& a, const Slot& b) {
      return weight(a) < weight(b);
    });
    std::rotate(victim, victim + 1, g.slot + kSlots);
    kept = kSlots - 1;
  }
  g.slot[kept++] = {block_serial, clocks[thread.linear].now,
                    site,         static_cast<std::uint16_t>(thread.linear),
                    bytes,        kind};
  g.used = static_cast<std::uint8_t>(kept);
}

void synchronise_blocks(const Thread& thread, std::uintptr_t address) {
  ThreadClock& clock = clocks[thread.linear];
  std::vector<Release>& list = releases[address];
  const bool others = !list.empty() && list.front().block != block_serial;  // in order of blocks
  if (others && std::find(acquired.begin(), acquired.end(), address) == acquired.end()) {
    acquired.push_back(address);
  }
  if (clock.fenced || fences_at_barrier) {
    Release release{block_serial, 0, thread.warp(), {}, fences_at_barrier};
    if (clock.fenced) {
      release.barrier = clock.fence_barrier;
      release.known = clock.fence_known;
    }
    list.push_back(std::move(release));
  }
}

// f(granule, bytes, address) for every granule that [address, address + size) touches.
template <class F>
void for_granules(Space space, std::uintptr_t address, std::size_t size, F f) {
  for (std::uintptr_t at = address, end = address + size; at < end;) {
    const std::uintptr_t next = std::min((at & ~std::uintptr_t{7}) + 8, end);
    const unsigned mask = ((1u << (next - at)) - 1u) << (at & 7u);
    f(granule(space, at), static_cast<std::uint8_t>(mask), at);
    at = next;
  }
}

}  // namespace

void begin_launch() {
  busy = false;  // a report leaves it set
  new_launch();
  releases.clear();
  block_serial = 0;
}

void begin_block() {
  new_block();
  ++block_serial;
  acquired.clear();
  fences_at_barrier.reset();
  fences_changed = false;
  std::fill(fences.begin(), fences.end(), 0);
  barrier();
  for (int i = 0; i < engine.threads; ++i) clocks[i].fenced = false;
}

void barrier() {
  if (std::exchange(fences_changed, false)) {
    fences_at_barrier = std::make_shared<const std::vector<std::uint32_t>>(fences);
  }
  barrier_stamp = ++stamp;
  for (int i = 0; i < engine.threads; ++i) clocks[i].now = stamp;
}

void sync_lanes(int warp, std::uint32_t mask) {
  ThreadClock* const lane = clocks + warp * kWarp;
  Clocks all{};
  for (int i = 0; i < kWarp; ++i) {
    if (!((mask >> i) & 1)) continue;
    for (int j = 0; j < kWarp; ++j) all[j] = std::max(all[j], lane[i].known[j]);
    all[i] = std::max(all[i], lane[i].now);
  }
  ++stamp;
  for (int i = 0; i < kWarp; ++i) {
    if (!((mask >> i) & 1)) continue;
    lane[i].known = all;
    lane[i].now = stamp;
  }
}

void fence(Thread& thread) {
  ThreadClock& clock = clocks[thread.linear];
  clock.fenced = true;
  clock.fence_barrier = barrier_stamp;
  clock.fence_known = clock.known;
  clock.fence_known[thread.lane()] = clock.now;
  clock.now = ++stamp;  // accesses from here on are not behind the fence
  fences[thread.linear] = stamp;
  fences_changed = true;
}

void access(Thread& thread, const void* pointer, std::size_t size, Access kind, Site where) {
  if (!current || busy) return;
  const Space space = space_of(pointer, size);
  if (space == Space::kNone) return;
  const Busy guard;
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const std::uint32_t site = encode(where);
  if (dynamic_shared_guarded().holds(pointer, 1) && !dynamic_shared_range().holds(pointer, size)) {
    report(thread, site,
           std::string(verb(kind)) + " outside the launch's " +
               std::to_string(engine.dynamic_bytes) + " bytes of dynamic shared memory");
  }
  for_granules(space, address, size, [&](Granule& g, std::uint8_t bytes, std::uintptr_t at) {
    if (g.pending & bytes) {
      report(thread, site,
             std::string(verb(kind)) + " " + place(space, at) +
                 ", the destination of a cp.async that was not waited for, issued by " +
                 issuer(at));
    }
    if (space == Space::kShared && kind != Access::kWrite && (g.written & bytes) != bytes) {
      report(thread, site, "reads " + place(space, at) + ", which nobody has written");
    }
    if (kind != Access::kRead) g.written |= bytes;
    for (int i = 0; i < g.used; ++i) {
      const Slot& slot = g.slot[i];
      if ((slot.bytes & bytes) && conflict(slot.kind, kind) && !ordered(slot, thread)) {
        report_race(thread, site, kind, space, at, slot);
      }
    }
    remember(g, thread, bytes, kind, site);
  });
  if (kind == Access::kAtomic && space == Space::kGlobal) synchronise_blocks(thread, address);
}

void copy_issued(Thread& thread, const Copy& copy) {
  const auto size = static_cast<std::size_t>(copy.bytes);
  if (copy.in) access(thread, copy.src, size, Access::kRead, {copy.where, nullptr});
  access(thread, copy.dst, size, Access::kWrite, {copy.where, nullptr});
  for_granules(Space::kShared, reinterpret_cast<std::uintptr_t>(copy.dst), size,
               [](Granule& g, std::uint8_t bytes, std::uintptr_t) { g.pending |= bytes; });
}

void copy_landed(Thread& thread, const Copy& copy) {
  const auto size = static_cast<std::size_t>(copy.bytes);
  for_granules(Space::kShared, reinterpret_cast<std::uintptr_t>(copy.dst), size,
               [](Granule& g, std::uint8_t bytes, std::uintptr_t) {
                 g.pending &= static_cast<std::uint8_t>(~bytes);
               });
  if (copy.in) access(thread, copy.src, size, Access::kRead, {copy.where, nullptr});
  access(thread, copy.dst, size, Access::kWrite, {copy.where, nullptr});
}

}  // namespace simt::race
