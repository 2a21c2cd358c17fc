// SPDX-License-Identifier: Apache-2.0
// Barriers and warp collectives: who must be there, and what happens when the last one comes.
#include <algorithm>
#include <cstring>

#include "simt/race.hpp"
#include "simt/scheduler.hpp"

namespace simt {
namespace {

struct Barrier {
  int arrived;
  int yes;
  const char* op;
  Where where;
} block_barrier;

bool same(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }
bool same(Where a, Where b) { return a.line == b.line && same(a.file, b.file); }

void complete_barrier() {
  const Votes votes{block_barrier.arrived, block_barrier.yes};
  block_barrier.arrived = 0;
  if constexpr (race::kOn) race::barrier();
  static Thread* released[kMaxThreads];
  int count = 0;
  for (int i = 0; i < engine.threads; ++i) {
    Thread& t = engine.thread[i];
    if (t.state == State::kDone) continue;
    t.votes = votes;
    if (t.state == State::kWaiting) released[count++] = &t;
  }
  make_ready(released, count);
}

std::string lanes(std::uint32_t mask) { return "lanes " + hex(mask); }

void complete_meeting(Warp& warp, int index) {
  const Meeting meeting = warp.meeting[index];
  warp.meeting[index] = warp.meeting[--warp.meetings];
  const void* in[kWarp];
  void* out[kWarp];
  Thread* released[kWarp];
  int count = 0;
  for (int lane = 0; lane < kWarp; ++lane) {
    const bool takes_part = (meeting.mask >> lane) & 1;
    in[lane] = takes_part ? warp.in[lane] : nullptr;
    out[lane] = takes_part ? warp.out[lane] : nullptr;
    if (takes_part && &lane_of(warp, lane) != current) released[count++] = &lane_of(warp, lane);
  }
  meeting.compute(in, out, meeting.mask, meeting.where);
  make_ready(released, count);
}

}  // namespace

void reset_sync() {
  block_barrier = {};
  for (int w = 0; w * kWarp < engine.threads; ++w) {
    const int lanes_left = std::min(engine.threads - w * kWarp, kWarp);
    engine.warp[w].alive = kFullMask >> (kWarp - lanes_left);
    engine.warp[w].meetings = 0;
  }
}

Votes barrier(const char* op, int predicate, Where where) {
  Thread& me = self();
  if (block_barrier.arrived == 0) {
    block_barrier.yes = 0;
    block_barrier.op = op;
    block_barrier.where = where;
  } else if (!same(block_barrier.where, where) || !same(block_barrier.op, op)) {
    fail(std::string(op) + " while other threads of the block wait in " + block_barrier.op +
             " at " + text(block_barrier.where) + ": all threads must reach the same barrier",
         where);
  }
  ++block_barrier.arrived;
  block_barrier.yes += predicate != 0;
  if (block_barrier.arrived < engine.live) {
    wait(op, 0, where);
  } else {
    complete_barrier();
    take_turns();
  }
  return me.votes;
}

void meet(const char* op, std::uint32_t mask, const void* in, void* out, Compute compute,
          Where where) {
  Thread& me = self();
  Warp& warp = engine.warp[me.warp()];
  const std::uint32_t bit = 1u << me.lane();
  if (!(mask & bit)) {
    fail(std::string(op) + ": lane " + std::to_string(me.lane()) + " is not in its own mask " +
             hex(mask),
         where);
  }
  if (mask & ~warp.alive) {
    fail(std::string(op) + ": mask " + hex(mask) + " names " + lanes(mask & ~warp.alive) +
             ", which do not exist or have exited",
         where);
  }
  int index = 0;
  while (index < warp.meetings && !(warp.meeting[index].mask & mask)) ++index;
  Meeting& meeting = warp.meeting[index];
  if (index == warp.meetings) {
    meeting = {mask, 0, op, compute, where};
    ++warp.meetings;
  } else if (meeting.mask != mask || !same(meeting.op, op) || !same(meeting.where, where)) {
    fail(std::string(op) + " with mask " + hex(mask) + " while " + lanes(meeting.arrived) +
             " of the warp wait in " + meeting.op + " with mask " + hex(meeting.mask) + " at " +
             text(meeting.where) + ": the lanes of a mask must reach the same line",
         where);
  }
  meeting.arrived |= bit;
  warp.in[me.lane()] = in;
  warp.out[me.lane()] = out;
  if (meeting.arrived != mask) {
    wait(op, mask, where);
  } else {
    complete_meeting(warp, index);
    take_turns();
  }
}

void before_exit(Thread& thread) {
  if (!thread.copies.empty()) {
    const Copy& first = thread.copies.front();
    fail(std::to_string(thread.copies.size()) +
             " asynchronous copies were never waited for; the first was issued here",
         first.where);
  }
  Warp& warp = engine.warp[thread.warp()];
  const std::uint32_t bit = 1u << thread.lane();
  for (int i = 0; i < warp.meetings; ++i) {
    const Meeting& meeting = warp.meeting[i];
    if (meeting.mask & bit) {
      fail(std::string(meeting.op) + " with mask " + hex(meeting.mask) + " waits for lane " +
               std::to_string(thread.lane()) + ", which has exited",
           meeting.where);
    }
  }
  warp.alive &= ~bit;
  thread.state = State::kDone;
  --engine.live;
  if (block_barrier.arrived > 0 && block_barrier.arrived == engine.live) complete_barrier();
}

std::string who_waits() {
  std::string list;
  int shown = 0;
  for (int i = 0; i < engine.threads; ++i) {
    const Thread& first = engine.thread[i];
    if (first.state != State::kWaiting) continue;
    const auto alike = [&](const Thread& t) {
      return t.state == State::kWaiting && t.mask == first.mask && t.why == first.why &&
             same(t.where, first.where);
    };
    if (std::any_of(engine.thread, engine.thread + i, alike)) continue;
    if (shown++ == 8) return list + "\n  ...";
    const auto count = std::count_if(engine.thread + i, engine.thread + engine.threads, alike);
    list += "\n  " + std::to_string(count) + " from thread " + text(first.index) +
            " on: " + first.why + " at " + text(first.where);
    if (first.mask) list += " with mask " + hex(first.mask);
  }
  return list;
}

}  // namespace simt
