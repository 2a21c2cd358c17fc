// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/causal_attention.h on AVX-512.
#include "cpu/causal_attention.h"

#include "cpu/avx512/vec.h"

namespace vivace::avx512 {

void causal_attention(const cpu::CausalAttentionHead& head) {
  cpu::dispatch_storage(head.dtype,
                        [&](auto* type) { cpu::causal_attention_head<Vec>(head, type); });
}

}  // namespace vivace::avx512
