// SPDX-License-Identifier: Apache-2.0
#include "core/scratch.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace vivace {
namespace {

struct Buffer {
  void* data = nullptr;
  std::int64_t size = 0;
  ~Buffer() { std::free(data); }
};

thread_local Buffer buffer;

}  // namespace

void* scratch(std::int64_t bytes) {
  if (bytes > buffer.size) {
    std::free(buffer.data);
    buffer = Buffer{};
    // Whole pages, and some more: sizes that grow step by step do not allocate at each step.
    const std::int64_t size = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    buffer.data = std::aligned_alloc(4096, static_cast<std::size_t>(size));
    if (buffer.data == nullptr) throw std::bad_alloc();
    buffer.size = size;
  }
  return buffer.data;
}

void expect_writes(void* data, std::int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kPage = 2 << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace vivace
