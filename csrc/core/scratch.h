// SPDX-License-Identifier: Apache-2.0
// Working memory of the CPU kernels: one buffer per thread, which grows and is kept. What a kernel
// asks for is bounded by its tile, not by its input.
#pragma once

#include <cstdint>

namespace vivace {

// At least `bytes`, aligned to 64, valid until this thread's next call. Throws std::bad_alloc.
void* scratch(std::int64_t bytes);

}  // namespace vivace
