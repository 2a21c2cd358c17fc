// SPDX-License-Identifier: Apache-2.0
// Memory of the CPU kernels. Working memory: one buffer per thread, which grows and is kept. What a
// kernel asks for is bounded by its tile, not by its input.
#pragma once

#include <cstdint>

namespace vivace {

// At least `bytes`, aligned to 64, valid until this thread's next call. Throws std::bad_alloc.
void* scratch(std::int64_t bytes);

// Tells the system that a large result is about to be written for the first time: pages of 2 MB
// then take the place of 4 KB ones, each of which costs a fault. A hint: nothing depends on it.
void expect_writes(void* data, std::int64_t bytes);

}  // namespace vivace
