// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/lstm.h on AVX2.
#include "cpu/lstm.h"

#include "cpu/avx2/vec.h"

namespace vivace::avx2 {
namespace {

struct Lanes : Vec {
  static constexpr int kMost = 2;  // rows of a batch that share the loads of the weights

  // out[i]: the sum of the lanes of v[i].
  static void sums(float (&out)[4], const Reg (&v)[4]) {
    const Reg quads = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1)));
  }
};

}  // namespace

void lstm(const cpu::Lstm& p, const cpu::LstmThread& thread) { cpu::lstm_steps<Lanes>(p, thread); }

}  // namespace vivace::avx2
