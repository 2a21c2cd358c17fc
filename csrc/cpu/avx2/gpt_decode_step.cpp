// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/gpt_decode_step.h on AVX2.
#include "cpu/gpt_decode_step.h"

#include "cpu/avx2/panel.h"

namespace vivace::avx2 {

void gpt_decode_step(const cpu::DecodeStep& step, const cpu::DecodeThread& thread) {
  cpu::DecodeLoops<PanelVec>(step, thread).run();
}

}  // namespace vivace::avx2
