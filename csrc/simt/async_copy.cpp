// SPDX-License-Identifier: Apache-2.0
// cp.async: every thread keeps the copies that it has issued until it waits for their group. Copies
// that land late catch a missing wait; copies that land at once catch a write into a buffer that is
// still being read. Each hides the other's bug, hence the option.
#include <cstring>

#include "simt/race.hpp"

namespace simt {
namespace {

void land(Copy& copy) {
  copy.landed = true;
  if (copy.in) {
    std::memcpy(copy.dst, copy.src, static_cast<std::size_t>(copy.bytes));
  } else {
    std::memset(copy.dst, 0, static_cast<std::size_t>(copy.bytes));
  }
}

void finish(Thread& thread, unsigned groups) {
  std::size_t kept = 0;
  for (Copy& copy : thread.copies) {
    if (copy.group >= groups) {
      thread.copies[kept++] = copy;
      continue;
    }
    if (!copy.landed) land(copy);
    if constexpr (race::kOn) race::copy_landed(thread, copy);
  }
  thread.copies.resize(kept);
}

}  // namespace

void copy_async(void* dst, const void* src, int bytes, bool in, Where where) {
  const auto size = static_cast<std::size_t>(bytes);
  require_shared("cp.async", dst, size, where);
  if (in && reinterpret_cast<std::uintptr_t>(src) % size != 0) {
    fail("cp.async: the global address is not a multiple of " + std::to_string(bytes) + " bytes",
         where);
  }
  Thread& me = self();
  Copy copy{dst, src, bytes, in, false, me.groups, where};
  if constexpr (race::kOn) race::copy_issued(me, copy);
  const Copies mode = engine.options.copies;
  if (mode == Copies::kEager || (mode == Copies::kShuffle && engine.random(2) == 0)) land(copy);
  me.copies.push_back(copy);
}

void copy_commit() { ++self().groups; }

void copy_wait(unsigned pending_groups) {
  Thread& me = self();
  if (me.groups > pending_groups) finish(me, me.groups - pending_groups);
}

void copy_wait_all() { finish(self(), self().groups + 1); }

void note(const void* address, std::size_t bytes, Access access, Where where) {
  if constexpr (race::kOn) race::access(self(), address, bytes, access, {where, nullptr});
}

void fence() {
  if constexpr (race::kOn) race::fence(self());
}

}  // namespace simt
