// SPDX-License-Identifier: Apache-2.0
// The emulated bodies of the wrappers that core/ptx.cuh defines and documents for nvcc. Same names,
// same arguments, plus the kernel's line.
#pragma once

#include "simt/simt.hpp"

namespace simt {

struct MatrixIn {
  const void* row;
  int matrices;
  bool transposed;
};
void compute_ldmatrix(const void* const*, void* const*, std::uint32_t, Where);

struct MmaIn {
  const unsigned* a;
  const unsigned* b;
};
void compute_mma_bf16(const void* const*, void* const*, std::uint32_t, Where);
void compute_mma_f16(const void* const*, void* const*, std::uint32_t, Where);
void compute_mma_tf32(const void* const*, void* const*, std::uint32_t, Where);

template <int kBytes>
void cp_async(void* dst, const void* src, bool in, Where where) {
  if (in) probe<kBytes>(src);
  probe<kBytes>(dst);
  copy_async(dst, src, kBytes, in, where);
}

template <int kMatrices>
void ldmatrix(const char* op, unsigned (&r)[kMatrices], const void* row, bool transposed,
              Where where) {
  if (current->linear % 32 < 8 * kMatrices) probe<16>(row);  // the other lanes' rows are not used
  const MatrixIn in{row, kMatrices, transposed};
  meet(op, 0xffffffffu, &in, r, compute_ldmatrix, where);
}

}  // namespace simt

namespace vivace::ptx {

inline void cp_async4(void* dst, const void* src, bool in = true,
                      simt::Where where = simt::here()) {
  simt::cp_async<4>(dst, src, in, where);
}
inline void cp_async8(void* dst, const void* src, bool in = true,
                      simt::Where where = simt::here()) {
  simt::cp_async<8>(dst, src, in, where);
}
inline void cp_async16(void* dst, const void* src, bool in = true,
                       simt::Where where = simt::here()) {
  simt::cp_async<16>(dst, src, in, where);
}
inline void cp_async_commit() { simt::copy_commit(); }
template <int kPending>
inline void cp_async_wait() {
  simt::copy_wait(kPending);
}
inline void cp_async_wait_all() { simt::copy_wait_all(); }

inline void ldmatrix_x1(unsigned (&r)[1], const void* row, simt::Where where = simt::here()) {
  simt::ldmatrix("ldmatrix_x1", r, row, false, where);
}
inline void ldmatrix_x2(unsigned (&r)[2], const void* row, simt::Where where = simt::here()) {
  simt::ldmatrix("ldmatrix_x2", r, row, false, where);
}
inline void ldmatrix_x4(unsigned (&r)[4], const void* row, simt::Where where = simt::here()) {
  simt::ldmatrix("ldmatrix_x4", r, row, false, where);
}
inline void ldmatrix_x1_trans(unsigned (&r)[1], const void* row, simt::Where where = simt::here()) {
  simt::ldmatrix("ldmatrix_x1_trans", r, row, true, where);
}
inline void ldmatrix_x2_trans(unsigned (&r)[2], const void* row, simt::Where where = simt::here()) {
  simt::ldmatrix("ldmatrix_x2_trans", r, row, true, where);
}
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row, simt::Where where = simt::here()) {
  simt::ldmatrix("ldmatrix_x4_trans", r, row, true, where);
}

inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     simt::Where where = simt::here()) {
  const simt::MmaIn in{a, b};
  simt::meet("mma_bf16", 0xffffffffu, &in, d, simt::compute_mma_bf16, where);
}
inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                    simt::Where where = simt::here()) {
  const simt::MmaIn in{a, b};
  simt::meet("mma_f16", 0xffffffffu, &in, d, simt::compute_mma_f16, where);
}
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     simt::Where where = simt::here()) {
  const simt::MmaIn in{a, b};
  simt::meet("mma_tf32", 0xffffffffu, &in, d, simt::compute_mma_tf32, where);
}

// Nearest, ties away from zero, to 10 bits of mantissa; the rest of the word is zero.
inline unsigned to_tf32(float x) {
  unsigned bits;
  __builtin_memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits & 0xffffe000u;
  return (bits + 0x1000u) & 0xffffe000u;
}

inline uint4 load_once(const void* address) { return *static_cast<const uint4*>(address); }

}  // namespace vivace::ptx
