// SPDX-License-Identifier: Apache-2.0
#include "core/parallel.h"

#include <pthread.h>

#include <atomic>

namespace vivace {
namespace {

std::atomic<bool> forked{false};

[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });

}  // namespace

int usable_threads(int wanted) {
  return forked.load(std::memory_order_relaxed) || wanted < 1 ? 1 : wanted;
}

}  // namespace vivace
