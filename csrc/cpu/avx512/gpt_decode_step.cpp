// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/gpt_decode_step.h on AVX-512.
#include "cpu/gpt_decode_step.h"

#include "cpu/avx512/panel.h"

namespace vivace::avx512 {

void gpt_decode_step(const cpu::DecodeStep& step, const cpu::DecodeThread& thread) {
  cpu::DecodeLoops<PanelVec>(step, thread).run();
}

}  // namespace vivace::avx512
