// SPDX-License-Identifier: Apache-2.0
#include "simt/shadow.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <unordered_map>
#include <vector>

#include "simt/engine.hpp"

namespace simt::race {
namespace {

constexpr std::uintptr_t kPageBytes = 4096;
constexpr std::size_t kGranules = kPageBytes / 8;
constexpr std::size_t kKeptPages = 2048;  // about 100 MiB, used again by the next launch

struct Page {
  Granule granule[kGranules];
};

std::unordered_map<std::uintptr_t, Page*> pages;
std::vector<Page*> spare;
std::uintptr_t last_number = 0;
Page* last_page = nullptr;

struct Region {  // shadow of a range of shared memory
  std::uintptr_t begin = 0;
  std::vector<Granule> granules;
  void cover(Range range) {
    begin = reinterpret_cast<std::uintptr_t>(range.begin) & ~std::uintptr_t{7};
    const auto end = reinterpret_cast<std::uintptr_t>(range.end);
    granules.resize(std::max(granules.size(), (end - begin + 7) / 8));
  }
} dynamic_region, static_region;

std::uint32_t launch_stamp = 0;
std::uint32_t block_stamp = 0;

Page& page(std::uintptr_t number) {
  if (number == last_number && last_page) return *last_page;
  Page*& found = pages[number];
  if (!found) {
    if (spare.empty()) {
      void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) throw std::bad_alloc();
      spare.push_back(static_cast<Page*>(memory));
    }
    found = spare.back();
    spare.pop_back();
  }
  last_number = number;
  last_page = found;
  return *found;
}

template <class T>
bool within(const T& object, const void* address) {
  const char* p = static_cast<const char*>(address);
  const char* begin = reinterpret_cast<const char*>(&object);
  return p >= begin && p < begin + sizeof(T);
}

}  // namespace

Space space_of(const void* address, std::size_t bytes) {
  const char* p = static_cast<const char*>(address);
  const StackArea stacks = stack_area();
  if (p >= stacks.begin && p < stacks.end) return Space::kNone;
  if (dynamic_shared_guarded().holds(address, 1)) return Space::kShared;
  if (static_shared().holds(address, bytes)) return Space::kShared;
  if (within(current, address) || within(grid, address) || within(engine, address)) {
    return Space::kNone;
  }
  return Space::kGlobal;
}

Granule& granule(Space space, std::uintptr_t address) {
  Granule* g;
  if (space == Space::kGlobal) {
    g = &page(address / kPageBytes).granule[address % kPageBytes / 8];
  } else {
    const auto pointer = reinterpret_cast<const void*>(address);
    Region& region = static_shared().holds(pointer, 1) ? static_region : dynamic_region;
    g = &region.granules[(address - region.begin) / 8];
  }
  const std::uint32_t stamp = space == Space::kGlobal ? launch_stamp : block_stamp;
  if (g->stamp != stamp) {
    g->stamp = stamp;
    g->used = g->written = g->pending = 0;
  }
  return *g;
}

void new_launch() {
  ++launch_stamp;
  last_page = nullptr;
  for (const auto& entry : pages) {
    if (spare.size() < kKeptPages) {
      spare.push_back(entry.second);
    } else {
      munmap(entry.second, sizeof(Page));
    }
  }
  pages.clear();
  dynamic_region.cover(dynamic_shared_range());
  static_region.cover(static_shared());
}

void new_block() { ++block_stamp; }

}  // namespace simt::race
