// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/sample.h on AVX-512.
#include "cpu/sample.h"

#include "cpu/avx512/vec.h"

namespace vivace::avx512 {
namespace {

struct Scores : Vec {
  static int at_least(Reg a, Reg bound) {
    return __builtin_popcount(_mm512_cmp_ps_mask(a, bound, _CMP_GE_OQ));
  }
  // `yes` where a < bound or either is NaN, else `no`.
  static Reg below(Reg a, Reg bound, Reg yes, Reg no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, bound, _CMP_GE_OQ), yes, no);
  }
  static void keep_better(Reg value, Reg number, Reg& best, Reg& index) {
    const __mmask16 better = _mm512_cmp_ps_mask(value, best, _CMP_GT_OQ);
    best = _mm512_mask_mov_ps(best, better, value);
    index = _mm512_mask_mov_ps(index, better, number);
  }
};

}  // namespace

cpu::SampleLoops sample() { return cpu::Sampler<Scores>::loops(); }

}  // namespace vivace::avx512
