// SPDX-License-Identifier: Apache-2.0
// Fibers: stacks that one OS thread switches between. On x86-64 a switch is 16 instructions;
// elsewhere (or with -DSIMT_UCONTEXT) it is swapcontext, thirty times slower because it saves the
// signal mask.
#pragma once

#include <cstddef>

#if !defined(__x86_64__) && !defined(SIMT_UCONTEXT)
#define SIMT_UCONTEXT
#endif
#ifdef SIMT_UCONTEXT
#include <ucontext.h>
#endif

namespace simt {

struct Thread;

struct Fiber {
  void* stack = nullptr;  // lowest usable byte; the page below it is a guard
  std::size_t stack_bytes = 0;
  Thread* thread = nullptr;    // what a parked fiber shall run when it is resumed
  void* fake_stack = nullptr;  // the address sanitizer's
#ifdef SIMT_UCONTEXT
  ucontext_t context;
#else
  void* stack_pointer = nullptr;
#endif
};

// Room for every stack of the largest block, reserved once; pages are touched on first use.
struct StackArea {
  char* begin;
  char* end;
};
StackArea stack_area();

// Gives the i-th fiber its stack and makes it start in entry() at the next switch to it.
void prepare_fiber(Fiber& fiber, int i, void (*entry)());
// The calling OS thread's own context, which switches to fibers and is switched back to.
void prepare_main(Fiber& fiber);
void switch_fiber(Fiber& from, Fiber& to);
// To be called first thing in entry().
void entered_fiber(Fiber& self);

}  // namespace simt
