// SPDX-License-Identifier: Apache-2.0
// Threads that go through the phases of one call together. Starting threads costs microseconds, and
// a call of many short phases would do little else: they start once, and wait for each other here.
#pragma once

#include <omp.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>

#include "core/parallel.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sched.h>
#endif

namespace vivace {

// Where the threads meet. Whoever waits spins for about 20 µs, which is more than a fair share of
// the work takes, then sleeps: a core on which the one waited for can run.
class Barrier {
 public:
  void wait(int size) {
    const std::uint32_t now = generation_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived_.store(0, std::memory_order_relaxed);
      generation_.store(now + 1);
      if (sleepers_.load() > 0) wake();
      return;
    }
    for (int i = 0; i < kSpins; ++i) {
      if (generation_.load(std::memory_order_acquire) != now) return;
      __builtin_ia32_pause();
    }
    const auto begin = std::chrono::steady_clock::now();
    sleepers_.fetch_add(1);
    while (generation_.load() == now) sleep(now);
    sleepers_.fetch_sub(1);
    slept_.fetch_add((std::chrono::steady_clock::now() - begin).count(), std::memory_order_relaxed);
  }

  // Of all threads together, in ticks of the steady clock.
  std::int64_t slept() const { return slept_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kSpins = 500;

#if defined(__linux__)
  void sleep(std::uint32_t now) {
    syscall(SYS_futex, &generation_, FUTEX_WAIT_PRIVATE, now, nullptr, nullptr, 0);
  }
  void wake() {
    syscall(SYS_futex, &generation_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
#else
  void sleep(std::uint32_t) { sched_yield(); }
  void wake() {}
#endif

  alignas(64) std::atomic<std::uint32_t> generation_{0};
  alignas(64) std::atomic<int> arrived_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<std::int64_t> slept_{0};
};

// One thread of a team.
struct Member {
  int rank;
  int size;
  Barrier* barrier;

  void wait() const {
    if (size > 1) barrier->wait(size);
  }
};

// Whether calls that follow each other should start threads at all. Where other processes hold the
// cores, a team waits for whoever was put aside, at every step anew: where its threads have slept
// for half of a call, one thread alone would have been as fast. After two such calls in a row (one
// may follow another library's threads, which spin for a while) the next calls are alone, 4 at
// first, up to 64 where it happens again and again. Results do not depend on it.
class Patience {
 public:
  bool alone() {
    return left_.load(std::memory_order_relaxed) > 0 &&
           left_.fetch_sub(1, std::memory_order_relaxed) > 0;
  }

  void note(std::int64_t slept, std::int64_t elapsed, int size) {
    if (2 * slept < elapsed * (size - 1)) {
      bad_.store(0, std::memory_order_relaxed);
      next_.store(kFew, std::memory_order_relaxed);
      return;
    }
    if (bad_.fetch_add(1, std::memory_order_relaxed) + 1 < kBad) return;
    const int calls = next_.load(std::memory_order_relaxed);
    left_.store(calls, std::memory_order_relaxed);
    next_.store(calls < kMany ? 2 * calls : kMany, std::memory_order_relaxed);
  }

 private:
  static constexpr int kBad = 2, kFew = 4, kMany = 64;
  std::atomic<int> bad_{0}, left_{0}, next_{kFew};
};

// f(member) on each of at most `threads` threads. f must not throw.
template <class F>
void parallel_team(int threads, Patience& patience, const F& f) {
  const Share share(threads);
  Barrier barrier;
  if (share.threads() <= 1 || patience.alone()) return f(Member{0, 1, &barrier});
  const auto begin = std::chrono::steady_clock::now();
  int size = 1;
#pragma omp parallel num_threads(share.threads())
  {
    const Member member{omp_get_thread_num(), omp_get_num_threads(), &barrier};
    f(member);
    member.wait();  // here, where sleep is noted
    if (member.rank == 0) size = member.size;
  }
  patience.note(barrier.slept(), (std::chrono::steady_clock::now() - begin).count(), size);
}

}  // namespace vivace
