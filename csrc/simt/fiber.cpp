// SPDX-License-Identifier: Apache-2.0
#include "simt/fiber.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <new>

#ifdef VIVACE_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {
namespace {

constexpr std::size_t kGuard = 4096;
constexpr std::size_t kSlot =
    256 * 1024;  // address space; a kernel at -O0 under ASan needs < 128 KiB
constexpr int kSlots = 1024;

// Neighbouring stacks whose tops are a power of two apart fight for the same cache sets: with 1024
// fibers a switch took 43 ns, and takes 11 ns when each top is moved by an odd number of lines.
std::size_t colour(int i) { return static_cast<std::size_t>(i % 61) * 832; }

}  // namespace

StackArea stack_area() {
  static char* const base = [] {
    void* area = mmap(nullptr, kSlot * kSlots, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) throw std::bad_alloc();
    return static_cast<char*>(area);
  }();
  return {base, base + kSlot * kSlots};
}

#ifdef SIMT_UCONTEXT
static void switch_context(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }
#else
// Saves what the System V ABI makes the callee save, changes stacks, restores.
extern "C" void simt_switch_stack(void** save, void* load);
asm(R"(
  .text
  .p2align 4
  .hidden simt_switch_stack
  .globl simt_switch_stack
  .type simt_switch_stack, @function
simt_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size simt_switch_stack, .-simt_switch_stack
)");

static void switch_context(Fiber& from, Fiber& to) {
  simt_switch_stack(&from.stack_pointer, to.stack_pointer);
}
#endif

void prepare_fiber(Fiber& fiber, int i, void (*entry)()) {
  if (!fiber.stack) {
    char* const slot = stack_area().begin + static_cast<std::size_t>(i) * kSlot;
    mprotect(slot, kGuard, PROT_NONE);
    fiber.stack = slot + kGuard;
    fiber.stack_bytes = kSlot - kGuard;
  }
  fiber.fake_stack = nullptr;
#ifdef VIVACE_SIMT_ASAN
  // Frames that an error abandoned have left their red zones behind.
  __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#endif
  const std::size_t usable = fiber.stack_bytes - colour(i);
#ifdef SIMT_UCONTEXT
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = usable;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#else
  // As if entry() had been called: a return address (never used) at a multiple of 16, less 8.
  auto** top = reinterpret_cast<void**>(static_cast<char*>(fiber.stack) + usable);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  fiber.stack_pointer = top;
#endif
}

void prepare_main([[maybe_unused]] Fiber& fiber) {
#ifdef VIVACE_SIMT_ASAN
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &fiber.stack, &fiber.stack_bytes);
  pthread_attr_destroy(&attributes);
#endif
}

void entered_fiber([[maybe_unused]] Fiber& self) {
#ifdef VIVACE_SIMT_ASAN
  __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
#endif
}

void switch_fiber(Fiber& from, Fiber& to) {
#ifdef VIVACE_SIMT_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.stack_bytes);
#endif
  switch_context(from, to);
  entered_fiber(from);
}

}  // namespace simt
