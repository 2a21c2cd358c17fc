// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/rvq_encode.h on AVX-512: 16 frames, 16 codebook rows or 16 channels a step.
#include "cpu/rvq_encode.h"

#include "cpu/avx512/vec.h"

namespace vivace::avx512 {
namespace {

struct Lanes : Vec {
  static Reg sqrt(Reg a) { return _mm512_sqrt_ps(a); }

  static __m128 four(const float* p, int n) {
    return _mm_maskz_loadu_ps(static_cast<__mmask8>((1u << n) - 1), p);
  }

  // out[j]: element j of 16 rows of a matrix, j < n <= 4; rows past the last repeat it.
  static void columns(Reg (&out)[4], const float* p, std::int64_t stride, std::int64_t rows,
                      int n) {
    const auto row = [&](std::int64_t i) {
      return four(p + (i < rows ? i : rows - 1) * stride, n);
    };
    Reg in[4];  // in[i]: rows i, i + 4, i + 8, i + 12, one per 128 bits
    for (int i = 0; i < 4; ++i) {
      in[i] = _mm512_castps128_ps512(row(i));
      in[i] = _mm512_insertf32x4(in[i], row(i + 4), 1);
      in[i] = _mm512_insertf32x4(in[i], row(i + 8), 2);
      in[i] = _mm512_insertf32x4(in[i], row(i + 12), 3);
    }
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(in[0], in[1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(in[0], in[1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(in[2], in[3]));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(in[2], in[3]));
    out[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    out[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    out[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    out[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }

  // Lane i of the result: the sum of the lanes of v[i].
  static Reg sums(const Reg (&v)[16]) {
    Reg four[4];  // four[i]: 4 summands each of the sums 4i .. 4i + 3
    for (int i = 0; i < 4; ++i) {
      const Reg* w = v + 4 * i;
      const __m512d a =
          _mm512_castps_pd(add(_mm512_unpacklo_ps(w[0], w[1]), _mm512_unpackhi_ps(w[0], w[1])));
      const __m512d b =
          _mm512_castps_pd(add(_mm512_unpacklo_ps(w[2], w[3]), _mm512_unpackhi_ps(w[2], w[3])));
      four[i] = add(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    const auto fold = [](Reg a, Reg b) {
      return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    };
    return fold(fold(four[0], four[1]), fold(four[2], four[3]));
  }

  static void keep_better(Reg score, Reg number, Reg& best, Reg& index) {
    const __mmask16 better = _mm512_cmp_ps_mask(score, best, _CMP_GT_OQ);
    best = _mm512_mask_mov_ps(best, better, score);
    index = _mm512_mask_mov_ps(index, better, number);
  }
};

}  // namespace

void rvq_encode(const cpu::RvqEncode& p, const cpu::RvqScratch& s, std::int64_t begin,
                std::int64_t end) {
  cpu::rvq_encode_frames<Lanes>(p, s, begin, end);
}

}  // namespace vivace::avx512
