// SPDX-License-Identifier: Apache-2.0
// Shuffles of every width, votes, matches, reductions, block votes, atomics, bit operations.
#include "conformance.hpp"

namespace conformance {
namespace {

constexpr int kOperands = 40;  // more than 32: the hardware uses the low five bits
constexpr int kWidths = 6;     // 1, 2, 4, 8, 16, 32

// out: [width][operand][lane]; in: a value per lane.
template <int kKind>
__global__ void shuffle_kernel(unsigned* out, const unsigned* in) {
  const unsigned value = in[threadIdx.x];
  for (int w = 0; w < kWidths; ++w) {
    for (int operand = 0; operand < kOperands; ++operand) {
      const int width = 1 << w;
      unsigned r = 0;
      if (kKind == 0) r = __shfl_sync(~0u, value, operand, width);
      if (kKind == 1) r = __shfl_up_sync(~0u, value, operand, width);
      if (kKind == 2) r = __shfl_down_sync(~0u, value, operand, width);
      if (kKind == 3) r = __shfl_xor_sync(~0u, value, operand, width);
      out[(w * kOperands + operand) * 32 + threadIdx.x] = r;
    }
  }
}
constexpr int kShuffles = kWidths * kOperands * 32;
Case shuffle_index("shuffle_index", shuffle_kernel<0>, 32, words(32, 21), kShuffles);
Case shuffle_up("shuffle_up", shuffle_kernel<1>, 32, words(32, 22), kShuffles);
Case shuffle_down("shuffle_down", shuffle_kernel<2>, 32, words(32, 23), kShuffles);
Case shuffle_xor("shuffle_xor", shuffle_kernel<3>, 32, words(32, 24), kShuffles);

// Each lane reads a lane of its own, 8-byte and 2-byte values. out: low, high, half.
__global__ void shuffle_types_kernel(unsigned* out, const unsigned* in) {
  const int lane = threadIdx.x;
  const int source = (7 * lane + 1) % 32;
  const unsigned long long wide = (static_cast<unsigned long long>(in[lane]) << 32) | ~in[lane];
  const unsigned long long got = __shfl_sync(~0u, wide, source);
  out[lane] = static_cast<unsigned>(got);
  out[32 + lane] = static_cast<unsigned>(got >> 32);
  const __half h = __ushort_as_half(static_cast<unsigned short>(in[lane] & 0x7bffu));
  out[64 + lane] = __half_as_ushort(__shfl_sync(~0u, h, source));
}
Case shuffle_types("shuffle_types", shuffle_types_kernel, 32, words(32, 25), 96);

// Even and odd lanes vote apart. out: [ballot, any, all, match_any, match_all, its flag][lane].
__global__ void vote_kernel(unsigned* out, const unsigned* in) {
  const int lane = threadIdx.x;
  const unsigned mask = 0x55555555u << (lane % 2);
  const unsigned value = in[lane] % 3;
  unsigned r[6];
  int flag = 0;
  r[0] = __ballot_sync(mask, value);
  r[1] = __any_sync(mask, value == 2 && lane % 2) != 0;
  r[2] = __all_sync(mask, value < 3u - lane % 2) != 0;
  r[3] = __match_any_sync(mask, value);
  r[4] = __match_all_sync(mask, lane % 2 ? value : 5u, &flag);
  r[5] = flag != 0;
  for (int i = 0; i < 6; ++i) out[32 * i + lane] = r[i];
}
Case vote("vote", vote_kernel, 32, words(32, 26), 192);

// out: [add, add signed, min, min signed, max, max signed, and, or, xor][lane]
__global__ void reduce_kernel(unsigned* out, const unsigned* in) {
  const int lane = threadIdx.x;
  const unsigned mask = lane < 12 ? 0x00000fffu : 0xfffff000u;
  const unsigned v = in[lane];
  const int s = static_cast<int>(v);
  unsigned r[9];
  r[0] = __reduce_add_sync(mask, v);
  r[1] = static_cast<unsigned>(__reduce_add_sync(mask, s));
  r[2] = __reduce_min_sync(mask, v);
  r[3] = static_cast<unsigned>(__reduce_min_sync(mask, s));
  r[4] = __reduce_max_sync(mask, v);
  r[5] = static_cast<unsigned>(__reduce_max_sync(mask, s));
  r[6] = __reduce_and_sync(mask, v | 0xff000000u);
  r[7] = __reduce_or_sync(mask, v & 0x00ff00ffu);
  r[8] = __reduce_xor_sync(mask, v);
  for (int i = 0; i < 9; ++i) out[32 * i + lane] = r[i];
}
Case reduce("reduce", reduce_kernel, 32, words(32, 27), 288);

// 96 threads. out: [count, and, or][thread], then the same for predicates that all have.
__global__ void block_vote_kernel(unsigned* out, const unsigned* in) {
  for (int round = 0; round < 2; ++round) {
    const int predicate = round ? 4 : static_cast<int>(in[threadIdx.x] % 2);
    unsigned* to = out + 288 * round + threadIdx.x;
    to[0] = static_cast<unsigned>(__syncthreads_count(predicate));
    to[96] = __syncthreads_and(predicate) != 0;
    to[192] = __syncthreads_or(predicate) != 0;
  }
}
Case block_vote("block_vote", block_vote_kernel, 96, words(96, 28), 576);

// One thread, so that the order is known. in: 16 triples (memory, operand, compare). out: [op][old,
// new].
__global__ void atomic_kernel(unsigned* out, const unsigned* in) {
  for (int i = 0; i < 16; ++i) {
    for (int op = 0; op < 11; ++op) {
      unsigned m = in[3 * i];
      const unsigned v = in[3 * i + 1];
      unsigned* to = out + (i * 11 + op) * 2;
      to[1] = m;
      unsigned* p = to + 1;
      unsigned old = 0;
      if (op == 0) old = atomicAdd(p, v);
      if (op == 1) old = atomicSub(p, v);
      if (op == 2) old = atomicMin(p, v);
      if (op == 3) old = atomicMax(p, v);
      if (op == 4) old = atomicAnd(p, v);
      if (op == 5) old = atomicOr(p, v);
      if (op == 6) old = atomicXor(p, v);
      if (op == 7) old = atomicExch(p, v);
      if (op == 8) old = atomicInc(p, v);
      if (op == 9) old = atomicDec(p, v);
      if (op == 10) old = atomicCAS(p, i % 2 ? m : in[3 * i + 2], v);
      to[0] = old;
    }
  }
}
Case atomic("atomic", atomic_kernel, 1, words(48, 29), 352);

// in: pairs. out: [popc, clz, ffs, brev, byte_perm, umulhi, mulhi, funnel left, right, dp4a][pair]
__global__ void bits_kernel(unsigned* out, const unsigned* in) {
  const int i = threadIdx.x;
  const unsigned a = in[2 * i] >> (i % 32);
  const unsigned b = in[2 * i + 1];
  const int sa = static_cast<int>(a);
  const int sb = static_cast<int>(b);
  const unsigned r[10] = {static_cast<unsigned>(__popc(a)),
                          static_cast<unsigned>(__clz(sa)),
                          static_cast<unsigned>(__ffs(sa)),
                          __brev(a),
                          __byte_perm(a, b, b >> 7),
                          __umulhi(a, b),
                          static_cast<unsigned>(__mulhi(sa, sb)),
                          __funnelshift_l(a, b, i),
                          __funnelshift_r(a, b, i),
                          static_cast<unsigned>(__dp4a(sa, sb, i))};
  for (int j = 0; j < 10; ++j) out[64 * j + i] = r[j];
}
Case bits("bits", bits_kernel, 64, words(128, 30), 640);

}  // namespace
}  // namespace conformance
