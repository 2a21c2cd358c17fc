// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/rvq_encode.h on AVX2: 8 frames, 8 codebook rows or 8 channels a step.
#include "cpu/rvq_encode.h"

#include "cpu/avx2/vec.h"

namespace vivace::avx2 {
namespace {

struct Lanes : Vec {
  static Reg sqrt(Reg a) { return _mm256_sqrt_ps(a); }

  static __m128 four(const float* p, int n) {
    if (n == 4) return _mm_loadu_ps(p);
    alignas(16) float part[4] = {};
    for (int i = 0; i < n; ++i) part[i] = p[i];
    return _mm_load_ps(part);
  }

  // out[j]: element j of 8 rows of a matrix, j < n <= 4; rows past the last repeat it.
  static void columns(Reg (&out)[4], const float* p, std::int64_t stride, std::int64_t rows,
                      int n) {
    const auto row = [&](std::int64_t i) {
      return four(p + (i < rows ? i : rows - 1) * stride, n);
    };
    Reg in[4];  // in[i]: rows i and i + 4, one per 128 bits
    for (int i = 0; i < 4; ++i) {
      in[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(row(i)), row(i + 4), 1);
    }
    const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(in[0], in[1]));
    const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(in[0], in[1]));
    const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(in[2], in[3]));
    const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(in[2], in[3]));
    out[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    out[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    out[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
    out[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
  }

  // Lane i of the result: the sum of the lanes of v[i].
  static Reg sums(const Reg (&v)[8]) {
    Reg four[2];  // four[i]: 2 summands each of the sums 4i .. 4i + 3
    for (int i = 0; i < 2; ++i) {
      const Reg* w = v + 4 * i;
      const __m256d a =
          _mm256_castps_pd(add(_mm256_unpacklo_ps(w[0], w[1]), _mm256_unpackhi_ps(w[0], w[1])));
      const __m256d b =
          _mm256_castps_pd(add(_mm256_unpacklo_ps(w[2], w[3]), _mm256_unpackhi_ps(w[2], w[3])));
      four[i] = add(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                    _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    }
    return add(_mm256_permute2f128_ps(four[0], four[1], 0x20),
               _mm256_permute2f128_ps(four[0], four[1], 0x31));
  }

  static void keep_better(Reg score, Reg number, Reg& best, Reg& index) {
    const Reg better = _mm256_cmp_ps(score, best, _CMP_GT_OQ);
    best = _mm256_blendv_ps(best, score, better);
    index = _mm256_blendv_ps(index, number, better);
  }
};

}  // namespace

void rvq_encode(const cpu::RvqEncode& p, const cpu::RvqScratch& s, std::int64_t begin,
                std::int64_t end) {
  cpu::rvq_encode_frames<Lanes>(p, s, begin, end);
}

}  // namespace vivace::avx2
