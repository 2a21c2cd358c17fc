// SPDX-License-Identifier: Apache-2.0
// What g++ -fsanitize=thread calls around every access. The race library is linked without libtsan,
// so the calls land here. The names and signatures are the compiler's.
#include <cstdint>

#include "simt/race.hpp"

namespace {

using simt::Access;

inline void seen(const void* address, std::size_t bytes, Access kind, const void* pc) {
  if (simt::current) simt::race::access(simt::self(), address, bytes, kind, {{}, pc});
}

}  // namespace

extern "C" {

#define SIMT_PLAIN(name, bytes, kind)                                \
  void __tsan_##name(void* address) {                                \
    seen(address, bytes, Access::kind, __builtin_return_address(0)); \
  }
SIMT_PLAIN(read1, 1, kRead)
SIMT_PLAIN(read2, 2, kRead)
SIMT_PLAIN(read4, 4, kRead)
SIMT_PLAIN(read8, 8, kRead)
SIMT_PLAIN(read16, 16, kRead)
SIMT_PLAIN(write1, 1, kWrite)
SIMT_PLAIN(write2, 2, kWrite)
SIMT_PLAIN(write4, 4, kWrite)
SIMT_PLAIN(write8, 8, kWrite)
SIMT_PLAIN(write16, 16, kWrite)
SIMT_PLAIN(unaligned_read2, 2, kRead)
SIMT_PLAIN(unaligned_read4, 4, kRead)
SIMT_PLAIN(unaligned_read8, 8, kRead)
SIMT_PLAIN(unaligned_read16, 16, kRead)
SIMT_PLAIN(unaligned_write2, 2, kWrite)
SIMT_PLAIN(unaligned_write4, 4, kWrite)
SIMT_PLAIN(unaligned_write8, 8, kWrite)
SIMT_PLAIN(unaligned_write16, 16, kWrite)
#undef SIMT_PLAIN

void __tsan_read_range(void* address, unsigned long bytes) {
  seen(address, bytes, Access::kRead, __builtin_return_address(0));
}
void __tsan_write_range(void* address, unsigned long bytes) {
  seen(address, bytes, Access::kWrite, __builtin_return_address(0));
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}

// std::atomic, cuda::atomic_ref and the guards of function-local statics.
#define SIMT_UPDATE(bits, name, expression)                                               \
  std::uint##bits##_t __tsan_atomic##bits##_##name(volatile std::uint##bits##_t* address, \
                                                   std::uint##bits##_t v, int) {          \
    seen(const_cast<std::uint##bits##_t*>(address), bits / 8, Access::kAtomic,            \
         __builtin_return_address(0));                                                    \
    const std::uint##bits##_t old = *address;                                             \
    *address = static_cast<std::uint##bits##_t>(expression);                              \
    return old;                                                                           \
  }
#define SIMT_COMPARE(bits, strength)                                                           \
  int __tsan_atomic##bits##_compare_exchange_##strength(volatile std::uint##bits##_t* address, \
                                                        std::uint##bits##_t* expected,         \
                                                        std::uint##bits##_t v, int, int) {     \
    seen(const_cast<std::uint##bits##_t*>(address), bits / 8, Access::kAtomic,                 \
         __builtin_return_address(0));                                                         \
    const std::uint##bits##_t old = *address;                                                  \
    const bool equal = old == *expected;                                                       \
    if (equal) *address = v;                                                                   \
    if (!equal) *expected = old;                                                               \
    return equal;                                                                              \
  }
#define SIMT_ATOMICS(bits)                                                                        \
  std::uint##bits##_t __tsan_atomic##bits##_load(const volatile std::uint##bits##_t* p, int) {    \
    seen(const_cast<const std::uint##bits##_t*>(p), bits / 8, Access::kAtomic,                    \
         __builtin_return_address(0));                                                            \
    return *p;                                                                                    \
  }                                                                                               \
  void __tsan_atomic##bits##_store(volatile std::uint##bits##_t* p, std::uint##bits##_t v, int) { \
    seen(const_cast<std::uint##bits##_t*>(p), bits / 8, Access::kAtomic,                          \
         __builtin_return_address(0));                                                            \
    *p = v;                                                                                       \
  }                                                                                               \
  SIMT_UPDATE(bits, exchange, v)                                                                  \
  SIMT_UPDATE(bits, fetch_add, old + v)                                                           \
  SIMT_UPDATE(bits, fetch_sub, old - v)                                                           \
  SIMT_UPDATE(bits, fetch_and, old& v)                                                            \
  SIMT_UPDATE(bits, fetch_or, old | v)                                                            \
  SIMT_UPDATE(bits, fetch_xor, old ^ v)                                                           \
  SIMT_UPDATE(bits, fetch_nand, ~(old & v))                                                       \
  SIMT_COMPARE(bits, strong)                                                                      \
  SIMT_COMPARE(bits, weak)
SIMT_ATOMICS(8)
SIMT_ATOMICS(16)
SIMT_ATOMICS(32)
SIMT_ATOMICS(64)
#undef SIMT_ATOMICS
#undef SIMT_COMPARE
#undef SIMT_UPDATE

}  // extern "C"
