// SPDX-License-Identifier: Apache-2.0
// Which CUDA thread runs next. A thread runs until it must wait, then its fiber switches directly
// to the next one that can run; a finished thread's fiber goes on with a thread that has not
// started, so that a kernel without barriers needs one stack and no switches.
#include "simt/scheduler.hpp"

#include <algorithm>
#include <exception>
#include <mutex>
#include <numeric>
#include <utility>

#include "simt/race.hpp"

#ifdef VIVACE_SIMT_ASAN
#include <sanitizer/asan_interface.h>

#include <cstdio>
#endif

namespace simt {

ThreadView* current = nullptr;
GridView grid{};
Engine engine;

namespace {

Fiber main_fiber;
Fiber fibers[kMaxThreads];
Fiber* parked[kMaxThreads];  // fibers without a thread
int parked_count = 0;

Thread* ready[kMaxThreads];  // a ring of those that can go on; the head runs first
unsigned ready_head = 0;
unsigned ready_count = 0;

int start_order[kMaxThreads];
int started = 0;

void (*invoke)(const void*) = nullptr;
const void* arguments = nullptr;
std::string error_text;
std::exception_ptr exception;  // thrown by the kernel's own code

std::mutex launching;               // the engine has one state; Python threads take turns
std::uint64_t launched = 0;         // since the library was loaded
std::uint64_t launched_before = 0;  // the schedule was set

void ready_back(Thread* t) { ready[(ready_head + ready_count++) % kMaxThreads] = t; }

void ready_front(Thread* t) {
  ready_head = (ready_head + kMaxThreads - 1) % kMaxThreads;
  ready[ready_head] = t;
  ++ready_count;
}

Thread* take_ready() {
  if (engine.options.order == Order::kShuffle) {
    std::swap(ready[ready_head], ready[(ready_head + engine.random(ready_count)) % kMaxThreads]);
  }
  Thread* t = ready[ready_head];
  ready_head = (ready_head + 1) % kMaxThreads;
  --ready_count;
  return t;
}

// The next thread to run; null when there is none.
Thread* pick() {
  const bool unstarted = started < engine.threads;
  if (ready_count == 0 && !unstarted) return nullptr;
  bool start = ready_count == 0;
  if (ready_count && unstarted && engine.options.fair) {
    start = engine.options.order != Order::kShuffle || engine.random(2) == 0;
  }
  return start ? &engine.thread[start_order[started++]] : take_ready();
}

void fiber_main();

void resume(Fiber& from, Thread* next) {
  if (!next->fiber) {
    next->fiber = parked[--parked_count];
    if (!next->fiber->stack) {
      prepare_fiber(*next->fiber, static_cast<int>(next->fiber - fibers), fiber_main);
    }
  }
  current = next;
  switch_fiber(from, *next->fiber);
}

[[noreturn]] void abandon_block() {
  switch_fiber(*self().fiber, main_fiber);
  std::terminate();  // never resumed: recover() starts every fiber anew
}

void fiber_main() {
  Fiber& here = *self().fiber;
  entered_fiber(here);
  for (;;) {
    try {
      invoke(arguments);
    } catch (...) {
      exception = std::current_exception();
    }
    if (exception) abandon_block();
    Thread& done = self();
    before_exit(done);
    Thread* next = pick();
    if (next && !next->fiber) {
      next->fiber = &here;
      current = next;
      continue;
    }
    if (!next && engine.live > 0) {
      fail_in(done, "deadlock: the last thread that could run has exited." + who_waits(),
              {nullptr, 0});
    }
    parked[parked_count++] = &here;
    if (next) {
      resume(here, next);
    } else {
      switch_fiber(here, main_fiber);
    }
  }
}

void park_all() {
  parked_count = 0;
  for (int i = kMaxThreads - 1; i >= 0; --i) parked[parked_count++] = &fibers[i];
}

// After an error the block's fibers stand wherever they stood; give each a fresh start.
void recover() {
  for (int i = 0; i < kMaxThreads; ++i) {
    if (fibers[i].stack) prepare_fiber(fibers[i], i, fiber_main);
    engine.thread[i].copies.clear();
  }
  park_all();
  current = nullptr;
}

void start_block() {
  ready_head = ready_count = 0;
  started = 0;
  std::iota(start_order, start_order + engine.threads, 0);
  if (engine.options.order == Order::kReverse) {
    std::reverse(start_order, start_order + engine.threads);
  } else if (engine.options.order == Order::kShuffle) {
    for (int i = engine.threads; i > 1; --i) {
      std::swap(start_order[i - 1], start_order[engine.random(static_cast<std::uint32_t>(i))]);
    }
  }
  engine.live = engine.threads;
  for (int i = 0; i < engine.threads; ++i) {
    Thread& t = engine.thread[i];
    t.state = State::kUnstarted;
    t.fiber = nullptr;
    t.groups = 0;
  }
  reset_sync();
  poison_shared();
}

void run_block() {
  start_block();
  if constexpr (race::kOn) race::begin_block();
  resume(main_fiber, pick());
  current = nullptr;
  if (exception || !error_text.empty()) {
    recover();
    if (exception) std::rethrow_exception(std::exchange(exception, nullptr));
    throw Error(kernel_name(engine.kernel) + ": " + std::exchange(error_text, {}));
  }
  if (const char* side = damaged_guard()) {
    throw Error(kernel_name(engine.kernel) + ": block " + text(grid.block_index) +
                ": a thread wrote " + side + " of the launch's " +
                std::to_string(engine.dynamic_bytes) + " bytes of dynamic shared memory");
  }
}

#ifdef VIVACE_SIMT_ASAN
// The sanitizer has printed its report and will end the process: say which CUDA thread it is about.
void name_thread(const char*) {
  if (!current) return;
  std::fprintf(stderr, "The CUDA thread: block %s, thread %s\n", text(grid.block_index).c_str(),
               text(current->index).c_str());
}
#endif

}  // namespace

std::uint32_t Engine::random(std::uint32_t below) {  // splitmix64
  std::uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<std::uint32_t>(((z ^ (z >> 31)) >> 32) * below >> 32);
}

Options options() { return engine.options; }

std::uint64_t launches() {
  const std::lock_guard<std::mutex> lock(launching);
  return launched;
}

void set_options(const Options& options) {
  const std::lock_guard<std::mutex> lock(launching);
  engine.options = options;
  launched_before = launched;  // the same seed, the same sequence of schedules
}

void wait(const char* why, std::uint32_t mask, Where where) {
  Thread& me = self();
  me.state = State::kWaiting;
  me.why = why;
  me.mask = mask;
  me.where = where;
  Thread* next = pick();
  if (!next) fail("deadlock: no thread can run." + who_waits(), where);
  resume(*me.fiber, next);
}

void make_ready(Thread* const* threads, int count) {
  const bool reverse = engine.options.order == Order::kReverse;
  for (int i = 0; i < count; ++i) {
    // The back of the queue is filled first to last, the front last to first.
    Thread* t = threads[reverse == engine.options.fair ? count - 1 - i : i];
    t->state = State::kReady;
    engine.options.fair ? ready_back(t) : ready_front(t);
  }
}

void take_turns() {
  if (!engine.options.fair) return;
  Thread& me = self();
  ready_back(&me);
  Thread* next = pick();
  if (next != &me) resume(*me.fiber, next);
}

void fail_in(const Thread& thread, const std::string& what, Where where) {
  error_text = "block " + text(grid.block_index) + ", thread " + text(thread.index) + ": ";
  if (where.file) error_text += text(where) + ": ";
  error_text += what;
  abandon_block();
}

void fail(const std::string& what, Where where) {
  if (!current) throw Error(text(where) + ": " + what);  // a host function
  fail_in(self(), what, where);
}

void run_grid(const void* kernel, dim3 grid_dim, dim3 block_dim, std::size_t smem,
              void (*function)(const void*), const void* context) {
  const std::lock_guard<std::mutex> lock(launching);
  invoke = function;
  arguments = context;
  engine.kernel = kernel;
  engine.random_state = engine.options.seed * 0x9e3779b97f4a7c15u + launched++ - launched_before;
  engine.threads = static_cast<int>(block_dim.x * block_dim.y * block_dim.z);
  grid.grid_dim = grid_dim;
  grid.block_dim = block_dim;
  for (int i = 0; i < engine.threads; ++i) {
    const auto n = static_cast<unsigned>(i);
    engine.thread[i].linear = i;
    engine.thread[i].index = {n % block_dim.x, n / block_dim.x % block_dim.y,
                              n / block_dim.x / block_dim.y};
  }
  if (!parked_count) park_all();
  prepare_main(main_fiber);
  allocate_shared(smem);
  if constexpr (race::kOn) race::begin_launch();
#ifdef VIVACE_SIMT_ASAN
  __asan_set_error_report_callback(name_thread);
#endif

  const std::uint64_t blocks = std::uint64_t{grid_dim.x} * grid_dim.y * grid_dim.z;
  // A random bijection i -> (a * i + c) mod blocks, with a coprime to blocks.
  std::uint64_t a = 1;
  std::uint64_t c = 0;
  if (engine.options.order == Order::kReverse) {
    a = blocks - 1;
    c = blocks - 1;
  } else if (engine.options.order == Order::kShuffle && blocks > 1) {
    c = engine.random(static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks, 1u << 31)));
    do {
      a = 1 + engine.random(static_cast<std::uint32_t>(std::min<std::uint64_t>(blocks, 1u << 31)));
    } while (std::gcd(a, blocks) != 1);
  }
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t b = (static_cast<unsigned __int128>(a) * i + c) % blocks;
    grid.block_index = {static_cast<unsigned>(b % grid_dim.x),
                        static_cast<unsigned>(b / grid_dim.x % grid_dim.y),
                        static_cast<unsigned>(b / grid_dim.x / grid_dim.y)};
    run_block();
  }
}

}  // namespace simt
