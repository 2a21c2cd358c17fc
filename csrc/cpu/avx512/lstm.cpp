// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/lstm.h on AVX-512.
#include "cpu/lstm.h"

#include "cpu/avx512/vec.h"

namespace vivace::avx512 {
namespace {

struct Lanes : Vec {
  static constexpr int kMost = 4;  // rows of a batch that share the loads of the weights

  // out[i]: the sum of the lanes of v[i].
  static void sums(float (&out)[4], const Reg (&v)[4]) {
    const __m512d a =
        _mm512_castps_pd(add(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1])));
    const __m512d b =
        _mm512_castps_pd(add(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3])));
    const Reg quads =
        add(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    const __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(quads), _mm512_extractf32x8_ps(quads, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }
};

}  // namespace

void lstm(const cpu::Lstm& p, const cpu::LstmThread& thread) { cpu::lstm_steps<Lanes>(p, thread); }

}  // namespace vivace::avx512
