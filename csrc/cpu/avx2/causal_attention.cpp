// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/causal_attention.h on AVX2.
#include "cpu/causal_attention.h"

#include "cpu/avx2/vec.h"

namespace vivace::avx2 {

void causal_attention(const cpu::CausalAttentionHead& head) {
  cpu::dispatch_storage(head.dtype,
                        [&](auto* type) { cpu::causal_attention_head<Vec>(head, type); });
}

}  // namespace vivace::avx2
