// SPDX-License-Identifier: Apache-2.0
// Shared memory. Dynamic: a heap block of the launch's size between guards. Static: __shared__
// arrays are `static thread_local`, so this library's thread-local segment is all of them at once
// (which is why nothing else in the library may be thread_local). In the ASan build they are plain
// statics, because the compiler puts no red zones around thread-local variables.
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "simt/engine.hpp"

#ifdef VIVACE_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace simt {
namespace {

constexpr std::size_t kGuardBytes = 128;
constexpr std::size_t kAlignment = 256;  // the base is a multiple of 128, but never of 256
constexpr unsigned char kPoison = 0xff;
constexpr unsigned char kGuardByte = 0xdb;

char* block = nullptr;  // guard, dynamic shared memory, guard
std::size_t block_bytes = 0;
Range statics{};

#ifndef VIVACE_SIMT_ASAN
thread_local char anchor;  // touching it makes the loader allocate this thread's segment

int find_segment(dl_phdr_info* info, std::size_t, void* result) {
  bool ours = false;
  std::size_t bytes = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    const auto probe = reinterpret_cast<std::uintptr_t>(&find_segment);
    if (header.p_type == PT_LOAD && probe >= begin && probe < begin + header.p_memsz) ours = true;
    if (header.p_type == PT_TLS) bytes = header.p_memsz;
  }
  if (!ours) return 0;
  char* data = static_cast<char*>(info->dlpi_tls_data);
  *static_cast<Range*>(result) = {data, data + bytes};
  return 1;
}

// At every launch: each OS thread has its own segment, and a thread's identity may be used again.
void find_statics() {
  anchor = 1;
  asm volatile("" ::"m"(anchor));
  dl_iterate_phdr(find_segment, &statics);
}
#endif

}  // namespace

Range static_shared() { return statics; }
Range dynamic_shared_range() {
  return {block + kGuardBytes, block + kGuardBytes + engine.dynamic_bytes};
}
Range dynamic_shared_guarded() { return {block, block + block_bytes}; }
void* dynamic_shared() { return block + kGuardBytes; }

void allocate_shared(std::size_t dynamic_bytes) {
#ifdef VIVACE_SIMT_ASAN
  const std::size_t behind = 0;  // the sanitizer's own red zone starts right there
#else
  const std::size_t behind = kGuardBytes;
  find_statics();
#endif
  if (block && engine.dynamic_bytes == dynamic_bytes) return;
  std::free(block);
  block = nullptr;
  engine.dynamic_bytes = dynamic_bytes;
  block_bytes = kGuardBytes + dynamic_bytes + behind;
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, block_bytes) != 0) throw std::bad_alloc();
  block = static_cast<char*>(memory);
#ifdef VIVACE_SIMT_ASAN
  __asan_poison_memory_region(block, kGuardBytes);
#endif
}

void poison_shared() {
  if (statics.begin) std::memset(statics.begin, kPoison, statics.end - statics.begin);
  std::memset(dynamic_shared(), kPoison, engine.dynamic_bytes);
#ifndef VIVACE_SIMT_ASAN
  std::memset(block, kGuardByte, kGuardBytes);
  std::memset(dynamic_shared_range().end, kGuardByte, kGuardBytes);
#endif
}

const char* damaged_guard() {
#ifndef VIVACE_SIMT_ASAN
  const Range inside = dynamic_shared_range();
  for (std::size_t i = 0; i < kGuardBytes; ++i) {
    if (static_cast<unsigned char>(block[i]) != kGuardByte) return "before the start";
    if (static_cast<unsigned char>(inside.end[i]) != kGuardByte) return "past the end";
  }
#endif
  return nullptr;
}

void require_shared(const char* op, const void* address, std::size_t bytes, Where where) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    fail(std::string(op) + ": the shared-memory address is not a multiple of " +
             std::to_string(bytes) + " bytes",
         where);
  }
#ifndef VIVACE_SIMT_ASAN
  if (dynamic_shared_range().holds(address, bytes) || statics.holds(address, bytes)) return;
  const auto offset = static_cast<const char*>(address) - dynamic_shared_range().begin;
  fail(std::string(op) + ": " + std::to_string(bytes) + " bytes at offset " +
           std::to_string(offset) + " of dynamic shared memory are outside its " +
           std::to_string(engine.dynamic_bytes) + " bytes and in no static array",
       where);
#endif
}

}  // namespace simt
