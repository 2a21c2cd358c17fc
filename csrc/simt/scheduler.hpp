// SPDX-License-Identifier: Apache-2.0
// Who runs next: what barriers and collectives ask of the scheduler.
#pragma once

#include "simt/engine.hpp"

namespace simt {

// Suspends the running thread until somebody passes it to make_ready(). Nobody else able to run is
// a deadlock, and an error that lists who waits where.
void wait(const char* why, std::uint32_t mask, Where where);
// Threads that need not wait any more, in ascending order.
void make_ready(Thread* const* threads, int count);
// Called by the thread that made others ready: in a fair schedule it lets them run first.
void take_turns();

// What an exiting thread means to the others (sync.cpp).
void before_exit(Thread& thread);
void reset_sync();
std::string who_waits();

}  // namespace simt
