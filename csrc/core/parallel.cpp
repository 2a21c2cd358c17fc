// SPDX-License-Identifier: Apache-2.0
#include "core/parallel.h"

#include <pthread.h>

#include <atomic>

namespace vivace {
namespace {

std::atomic<bool> forked{false};
std::atomic<int> callers{0};

[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });

}  // namespace

int usable_threads(int wanted) {
  return forked.load(std::memory_order_relaxed) || wanted < 1 ? 1 : wanted;
}

Share::Share(int wanted) {
  const int share = usable_threads(wanted) / (callers.fetch_add(1, std::memory_order_relaxed) + 1);
  threads_ = share < 1 ? 1 : share;
}

Share::~Share() { callers.fetch_sub(1, std::memory_order_relaxed); }

}  // namespace vivace
