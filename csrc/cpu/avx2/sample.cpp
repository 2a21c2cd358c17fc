// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/sample.h on AVX2.
#include "cpu/sample.h"

#include "cpu/avx2/vec.h"

namespace vivace::avx2 {
namespace {

struct Scores : Vec {
  static int at_least(Reg a, Reg bound) {
    return __builtin_popcount(
        static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, bound, _CMP_GE_OQ))));
  }
  // `yes` where a < bound or either is NaN, else `no`.
  static Reg below(Reg a, Reg bound, Reg yes, Reg no) {
    return _mm256_blendv_ps(yes, no, _mm256_cmp_ps(a, bound, _CMP_GE_OQ));
  }
  static void keep_better(Reg value, Reg number, Reg& best, Reg& index) {
    const Reg better = _mm256_cmp_ps(value, best, _CMP_GT_OQ);
    best = _mm256_blendv_ps(best, value, better);
    index = _mm256_blendv_ps(index, number, better);
  }
};

}  // namespace

cpu::SampleLoops sample() { return cpu::Sampler<Scores>::loops(); }

}  // namespace vivace::avx2
