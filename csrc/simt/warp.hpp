// SPDX-License-Identifier: Apache-2.0
// Barriers and warp intrinsics. Only the *_sync forms exist: the others have no defined meaning
// since Volta. Every function's last argument is the kernel's line, for error messages.
#pragma once

#include "simt/simt.hpp"

namespace simt {

// The computations of meet(), compiled without instrumentation (warp.cpp).
enum class Shuffle : std::uint8_t { kIndex, kUp, kDown, kXor };
struct ShuffleIn {
  const void* value;
  int bytes;
  Shuffle kind;
  unsigned operand;  // source lane, delta or lane mask
  int width;
};
void compute_shuffle(const void* const*, void* const*, std::uint32_t, Where);
void compute_ballot(const void* const*, void* const*, std::uint32_t, Where);  // int -> unsigned
void compute_match(const void* const*, void* const*, std::uint32_t, Where);   // uint64 -> unsigned
void compute_syncwarp(const void* const*, void* const*, std::uint32_t, Where);
enum class Reduce : std::uint8_t { kAdd, kMin, kMax, kMinUnsigned, kMaxUnsigned, kAnd, kOr, kXor };
template <Reduce kOp>
void compute_reduce(const void* const*, void* const*, std::uint32_t,
                    Where);  // unsigned -> unsigned

// Smaller integers are promoted, as CUDA's overloads do it.
template <class T>
using Promoted = std::conditional_t<std::is_integral_v<T> && sizeof(T) < 4, int, T>;

template <class T>
T shuffle(const char* op, Shuffle kind, unsigned mask, T value, unsigned operand, int width,
          Where where) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "no shuffle of this size");
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    fail(std::string(op) + ": width must be a power of two up to 32, got " + std::to_string(width),
         where);
  }
  T result = value;
  const ShuffleIn in{&value, sizeof(T), kind, operand, width};
  meet(op, mask, &in, &result, compute_shuffle, where);
  return result;
}

inline unsigned ballot(const char* op, unsigned mask, int predicate, Where where) {
  unsigned result = 0;
  meet(op, mask, &predicate, &result, compute_ballot, where);
  return result;
}

inline unsigned match(const char* op, unsigned mask, std::uint64_t bits, Where where) {
  unsigned result = 0;
  meet(op, mask, &bits, &result, compute_match, where);
  return result;
}

template <class T>
std::uint64_t bits_of(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "no match of this size");
  std::uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <Reduce kOp, class T>
T reduce(const char* op, unsigned mask, T value, Where where) {
  unsigned in = static_cast<unsigned>(value);
  unsigned result = 0;
  meet(op, mask, &in, &result, compute_reduce<kOp>, where);
  return static_cast<T>(result);
}

}  // namespace simt

// ---- barriers ----------------------------------------------------------------------------------

inline void __syncthreads(simt::Where where = simt::here()) {
  simt::barrier("__syncthreads", 0, where);
}
inline int __syncthreads_count(int predicate, simt::Where where = simt::here()) {
  return simt::barrier("__syncthreads_count", predicate, where).yes;
}
inline int __syncthreads_and(int predicate, simt::Where where = simt::here()) {
  const simt::Votes votes = simt::barrier("__syncthreads_and", predicate, where);
  return votes.yes == votes.threads;
}
inline int __syncthreads_or(int predicate, simt::Where where = simt::here()) {
  return simt::barrier("__syncthreads_or", predicate, where).yes != 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, simt::Where where = simt::here()) {
  simt::meet("__syncwarp", mask, nullptr, nullptr, simt::compute_syncwarp, where);
}

// ---- shuffles ----------------------------------------------------------------------------------

template <class T>
simt::Promoted<T> __shfl_sync(unsigned mask, T value, int lane, int width = 32,
                              simt::Where where = simt::here()) {
  return simt::shuffle<simt::Promoted<T>>("__shfl_sync", simt::Shuffle::kIndex, mask, value,
                                          static_cast<unsigned>(lane), width, where);
}
template <class T>
simt::Promoted<T> __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                                 simt::Where where = simt::here()) {
  return simt::shuffle<simt::Promoted<T>>("__shfl_up_sync", simt::Shuffle::kUp, mask, value, delta,
                                          width, where);
}
template <class T>
simt::Promoted<T> __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                                   simt::Where where = simt::here()) {
  return simt::shuffle<simt::Promoted<T>>("__shfl_down_sync", simt::Shuffle::kDown, mask, value,
                                          delta, width, where);
}
template <class T>
simt::Promoted<T> __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                                  simt::Where where = simt::here()) {
  return simt::shuffle<simt::Promoted<T>>("__shfl_xor_sync", simt::Shuffle::kXor, mask, value,
                                          static_cast<unsigned>(lane_mask), width, where);
}

// ---- votes, matches, reductions ----------------------------------------------------------------

inline unsigned __ballot_sync(unsigned mask, int predicate, simt::Where where = simt::here()) {
  return simt::ballot("__ballot_sync", mask, predicate, where);
}
inline int __any_sync(unsigned mask, int predicate, simt::Where where = simt::here()) {
  return simt::ballot("__any_sync", mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, simt::Where where = simt::here()) {
  return simt::ballot("__all_sync", mask, predicate, where) == mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, simt::Where where = simt::here()) {
  return simt::match("__match_any_sync", mask, simt::bits_of(value), where);
}
template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all, simt::Where where = simt::here()) {
  *all = simt::match("__match_all_sync", mask, simt::bits_of(value), where) == mask;
  return *all ? mask : 0;
}

inline unsigned __reduce_add_sync(unsigned mask, unsigned v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kAdd>("__reduce_add_sync", mask, v, w);
}
inline int __reduce_add_sync(unsigned mask, int v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kAdd>("__reduce_add_sync", mask, v, w);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kMinUnsigned>("__reduce_min_sync", mask, v, w);
}
inline int __reduce_min_sync(unsigned mask, int v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kMin>("__reduce_min_sync", mask, v, w);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kMaxUnsigned>("__reduce_max_sync", mask, v, w);
}
inline int __reduce_max_sync(unsigned mask, int v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kMax>("__reduce_max_sync", mask, v, w);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kAnd>("__reduce_and_sync", mask, v, w);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kOr>("__reduce_or_sync", mask, v, w);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned v, simt::Where w = simt::here()) {
  return simt::reduce<simt::Reduce::kXor>("__reduce_xor_sync", mask, v, w);
}
