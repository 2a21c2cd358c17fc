// SPDX-License-Identifier: Apache-2.0
// Where threads are started, here and in core/team.h. OpenMP, so that torch's pool is reused, not
// doubled.
#pragma once

#include <cstdint>
#include <exception>

namespace vivace {

// `wanted`, or 1 in a forked child: libgomp's threads do not survive a fork, and waiting for them
// hangs.
int usable_threads(int wanted);

// What one of several callers at once may use of the threads that each was promised: together they
// take no more than one alone would, or one each.
class Share {
 public:
  explicit Share(int wanted);
  ~Share();
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

  int threads() const { return threads_; }

 private:
  int threads_;
};

// f(i) for i in [0, n). Each i runs whole on one thread, so results do not depend on the thread
// count or on which of them is free first. What f throws (memory that ran out) is thrown again
// here; the other i still run.
template <class F>
void parallel_for(int threads, std::int64_t n, const F& f) {
  const Share share(threads);
  threads = share.threads();
  if (threads > n) threads = static_cast<int>(n);
  if (threads <= 1) {
    for (std::int64_t i = 0; i < n; ++i) f(i);
    return;
  }
  std::exception_ptr thrown;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (std::int64_t i = 0; i < n; ++i) {
    try {
      f(i);
    } catch (...) {
#pragma omp critical(vivace_parallel_for)
      thrown = std::current_exception();
    }
  }
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace vivace
