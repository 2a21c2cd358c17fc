// SPDX-License-Identifier: Apache-2.0
// The loop of csrc/cpu/rvq_decode.cpp over a vector type V (avx2/vec.h, avx512/vec.h), which keeps
// every function here inside the file that uses it.
#pragma once

#include <cstdint>

#include "cpu/storage.h"

namespace vivace::cpu {

struct RvqDecode {
  void* y;                    // (frames, width)
  const std::int64_t* codes;  // of any strides
  const void* table;          // (>= books, rows, width)
  std::int64_t time;          // frames of one batch entry
  std::int64_t batch_stride, time_stride, book_stride;
  std::int64_t books, rows, width;
  DType dtype;
};

template <class V, class Storage>
class RvqSum {
 public:
  explicit RvqSum(const RvqDecode& problem)
      : p(problem), table(static_cast<const Storage*>(problem.table)) {}

  void run(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t frame = begin; frame < end; ++frame) {
      const std::int64_t* ids = of(frame);
      const std::int64_t* next = of(frame + 1 < end ? frame + 1 : frame);
      Storage* y = static_cast<Storage*>(p.y) + frame * p.width;
      std::int64_t c = 0;
      for (; c + kBlock <= p.width; c += kBlock) sum_block(y + c, ids, next, c);
      for (; c < p.width; c += kLanes) {
        const int left = p.width - c < kLanes ? static_cast<int>(p.width - c) : kLanes;
        typename V::Reg total = V::zero();
        for (std::int64_t n = 0; n < p.books; ++n) {
          total = V::add(total, V::load(row(ids, n) + c, left));
        }
        V::store(y + c, total, left);
      }
    }
  }

 private:
  static constexpr int kLanes = V::kWidth;
  static constexpr int kVectors = 8;  // sums held in registers while the codebooks pass
  static constexpr int kBlock = kVectors * kLanes;

  const std::int64_t* of(std::int64_t frame) const {
    return p.codes + frame / p.time * p.batch_stride + frame % p.time * p.time_stride;
  }

  // An id outside the table reads row 0: a kernel must not read foreign memory.
  const Storage* row(const std::int64_t* ids, std::int64_t n) const {
    const std::int64_t id = ids[n * p.book_stride];
    return table + (n * p.rows + (id >= 0 && id < p.rows ? id : 0)) * p.width;
  }

  // Asks for the next frame's rows meanwhile: no prefetcher can guess where they are.
  void sum_block(Storage* y, const std::int64_t* ids, const std::int64_t* next,
                 std::int64_t c) const {
    typename V::Reg total[kVectors];
    for (int i = 0; i < kVectors; ++i) total[i] = V::zero();
    for (std::int64_t n = 0; n < p.books; ++n) {
      const Storage* from = row(ids, n) + c;
      const char* ahead = reinterpret_cast<const char*>(row(next, n) + c);
      for (int i = 0; i < kVectors; ++i) total[i] = V::add(total[i], V::load(from + i * kLanes));
      constexpr int kBytes = kBlock * static_cast<int>(sizeof(Storage));
      for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(ahead + i);
    }
    for (int i = 0; i < kVectors; ++i) V::store(y + i * kLanes, total[i]);
  }

  const RvqDecode& p;
  const Storage* const table;
};

template <class V>
void rvq_decode_frames(const RvqDecode& p, std::int64_t begin, std::int64_t end) {
  if (p.dtype == DType::kFloat32) return RvqSum<V, float>(p).run(begin, end);
  if (p.dtype == DType::kFloat16) return RvqSum<V, Float16>(p).run(begin, end);
  RvqSum<V, BFloat16>(p).run(begin, end);
}

}  // namespace vivace::cpu
