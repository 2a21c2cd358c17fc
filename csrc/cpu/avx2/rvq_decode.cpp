// SPDX-License-Identifier: Apache-2.0
// The loop of csrc/cpu/rvq_decode.h on AVX2.
#include "cpu/rvq_decode.h"

#include "cpu/avx2/vec.h"

namespace vivace::avx2 {

void rvq_decode(const cpu::RvqDecode& p, std::int64_t begin, std::int64_t end) {
  cpu::rvq_decode_frames<Vec>(p, begin, end);
}

}  // namespace vivace::avx2
