// SPDX-License-Identifier: Apache-2.0
#include "core/isa.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace vivace::isa {
namespace {

constexpr const char* kNames[] = {"generic", "avx2", "avx512", "amx"};

// The kernel hands out the 8 KiB of AMX tile state only to processes that ask (Linux 5.16+).
bool request_amx() {
#if defined(__x86_64__)
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kXfeatureXtileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtileData) == 0;
#else
  return false;
#endif
}

Level detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return kGeneric;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return kAvx2;
  }
  unsigned eax, ebx, ecx, edx;
  __asm__("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(0));
  const bool amx = (edx >> 22 & 1) && (edx >> 24 & 1);  // AMX-BF16 and AMX-TILE
  if (amx && __builtin_cpu_supports("avx512bf16") && request_amx()) return kAmx;
  return kAvx512;
#else
  return kGeneric;
#endif
}

int parse(const char* text) {
  for (int i = 0; i < 4; ++i) {
    if (std::strcmp(text, kNames[i]) == 0) return i;
  }
  throw std::invalid_argument(
      std::string("VIVACE_CPU must be generic, avx2, avx512 or amx, got '") + text + "'");
}

std::atomic<int>& cap() {
  static std::atomic<int> value = [] {
    const char* text = std::getenv("VIVACE_CPU");
    return text && *text ? parse(text) : static_cast<int>(kAmx);
  }();
  return value;
}

}  // namespace

Level detected() {
  static const Level level = detect();
  return level;
}

Level active() {
  const int limit = cap().load(std::memory_order_relaxed);
  return static_cast<Level>(limit < detected() ? limit : detected());
}

void set_cap(const char* text) {
  cap().store(*text ? parse(text) : static_cast<int>(kAmx), std::memory_order_relaxed);
}

const char* name(Level level) { return kNames[level]; }

}  // namespace vivace::isa
