// SPDX-License-Identifier: Apache-2.0
// What the last lane to arrive computes for its warp: shuffles, votes, reductions, ldmatrix, mma.
// Semantics: PTX ISA, "shfl.sync", "match.sync", "redux.sync", "ldmatrix", "mma"; CUDA programming
// guide.
#include "simt/warp.hpp"

#include <algorithm>
#include <cstring>

#include "simt/engine.hpp"
#include "simt/race.hpp"

namespace simt {
namespace {

template <class T>
const T& at(const void* p) {
  return *static_cast<const T*>(p);
}

// The source lane of shfl.sync; -1 keeps the lane's own value.
int source_lane(const ShuffleIn& in, int lane) {
  const int segment = lane & ~(in.width - 1);
  const int last = segment + in.width - 1;
  const int operand = static_cast<int>(in.operand & 31u);
  switch (in.kind) {
    case Shuffle::kIndex:
      return segment + (operand & (in.width - 1));
    case Shuffle::kUp:
      return lane - operand >= segment ? lane - operand : -1;
    case Shuffle::kDown:
      return lane + operand <= last ? lane + operand : -1;
    default:  // an earlier segment may be read, a later one not
      return (lane ^ operand) <= last ? lane ^ operand : -1;
  }
}

template <class F>
void for_lanes(std::uint32_t mask, F f) {
  for (int lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane) & 1) f(lane);
  }
}

}  // namespace

void compute_shuffle(const void* const* in, void* const* out, std::uint32_t mask, Where where) {
  for_lanes(mask, [&](int lane) {
    const auto& mine = at<ShuffleIn>(in[lane]);
    const int source = source_lane(mine, lane);
    if (source < 0) return;
    if (!((mask >> source) & 1)) {
      fail("a shuffle makes lane " + std::to_string(lane) + " read lane " + std::to_string(source) +
               ", which is not in mask " + hex(mask),
           where);
    }
    std::memcpy(out[lane], at<ShuffleIn>(in[source]).value, static_cast<std::size_t>(mine.bytes));
  });
}

void compute_ballot(const void* const* in, void* const* out, std::uint32_t mask, Where) {
  unsigned votes = 0;
  for_lanes(mask, [&](int lane) { votes |= unsigned{at<int>(in[lane]) != 0} << lane; });
  for_lanes(mask, [&](int lane) { *static_cast<unsigned*>(out[lane]) = votes; });
}

void compute_match(const void* const* in, void* const* out, std::uint32_t mask, Where) {
  for_lanes(mask, [&](int lane) {
    unsigned equal = 0;
    for_lanes(mask, [&](int other) {
      const bool same = at<std::uint64_t>(in[lane]) == at<std::uint64_t>(in[other]);
      equal |= unsigned{same} << other;
    });
    *static_cast<unsigned*>(out[lane]) = equal;
  });
}

void compute_syncwarp(const void* const*, void* const*, std::uint32_t mask, Where) {
  if constexpr (race::kOn) race::sync_lanes(self().warp(), mask);
}

template <Reduce kOp>
void compute_reduce(const void* const* in, void* const* out, std::uint32_t mask, Where) {
  const auto combine = [](unsigned a, unsigned b) -> unsigned {
    const int sa = static_cast<int>(a);
    const int sb = static_cast<int>(b);
    switch (kOp) {
      case Reduce::kAdd:
        return a + b;
      case Reduce::kMin:
        return static_cast<unsigned>(std::min(sa, sb));
      case Reduce::kMax:
        return static_cast<unsigned>(std::max(sa, sb));
      case Reduce::kMinUnsigned:
        return std::min(a, b);
      case Reduce::kMaxUnsigned:
        return std::max(a, b);
      case Reduce::kAnd:
        return a & b;
      case Reduce::kOr:
        return a | b;
      default:
        return a ^ b;
    }
  };
  bool first = true;
  unsigned total = 0;
  for_lanes(mask, [&](int lane) {
    total = first ? at<unsigned>(in[lane]) : combine(total, at<unsigned>(in[lane]));
    first = false;
  });
  for_lanes(mask, [&](int lane) { *static_cast<unsigned*>(out[lane]) = total; });
}

template void compute_reduce<Reduce::kAdd>(const void* const*, void* const*, std::uint32_t, Where);
template void compute_reduce<Reduce::kMin>(const void* const*, void* const*, std::uint32_t, Where);
template void compute_reduce<Reduce::kMax>(const void* const*, void* const*, std::uint32_t, Where);
template void compute_reduce<Reduce::kMinUnsigned>(const void* const*, void* const*, std::uint32_t,
                                                   Where);
template void compute_reduce<Reduce::kMaxUnsigned>(const void* const*, void* const*, std::uint32_t,
                                                   Where);
template void compute_reduce<Reduce::kAnd>(const void* const*, void* const*, std::uint32_t, Where);
template void compute_reduce<Reduce::kOr>(const void* const*, void* const*, std::uint32_t, Where);
template void compute_reduce<Reduce::kXor>(const void* const*, void* const*, std::uint32_t, Where);

}  // namespace simt
