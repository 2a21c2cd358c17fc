// SPDX-License-Identifier: Apache-2.0
// The engine's surface: CUDA kernels run on the CPU, one fiber per CUDA thread, one OS thread in
// all. Kernels never see this file; core/gpu.cuh puts simt/cuda.hpp on top of it.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

// State that kernel code reads in its inner loops is reached without the dynamic linker's tables.
#define SIMT_LOCAL __attribute__((visibility("hidden")))
#define SIMT_API __attribute__((visibility("default")))

namespace simt {

// A line of a kernel. As a default argument, here() is the line of the call.
struct Where {
  const char* file;
  int line;
};
constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return {file, line};
}

// Everything that a kernel does wrong. what() names the kernel, the block, the thread and the line.
class SIMT_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The schedule is a test parameter: a right kernel gives the same result under all of them.
enum class Order : std::uint8_t { kForward, kReverse, kShuffle };  // of blocks and of threads
enum class Copies : std::uint8_t { kEager, kLate, kShuffle };      // when cp.async data lands
struct Options {
  Order order = Order::kForward;
  bool fair = false;  // false: a released warp runs on as far as it can; true: all take turns
  Copies copies = Copies::kEager;
  std::uint64_t seed = 0;
};
SIMT_API Options options();
SIMT_API void set_options(const Options& options);
SIMT_API std::uint64_t launches();  // so far

struct ThreadView {
  uint3 index;     // threadIdx
  int linear = 0;  // x fastest: warp 32w + lane
};
struct GridView {
  uint3 block_index;  // blockIdx
  dim3 block_dim;
  dim3 grid_dim;
};
SIMT_LOCAL extern ThreadView* current;
SIMT_LOCAL extern GridView grid;

// Ends the launch: launch() throws Error.
[[noreturn]] void fail(const std::string& text, Where where);

// ---- waiting -----------------------------------------------------------------------------------

struct Votes {
  int threads;  // that took part
  int yes;      // of them, with a predicate that was not zero
};
// A barrier over all threads of the block that have not exited. `op` is CUDA's name for it.
Votes barrier(const char* op, int predicate, Where where);

// What every warp collective is made of: the lanes of `mask` meet, and the last one to arrive
// computes everybody's result. in[i] and out[i] are what lane i brought; null for lanes outside the
// mask.
using Compute = void (*)(const void* const* in, void* const* out, std::uint32_t mask, Where where);
void meet(const char* op, std::uint32_t mask, const void* in, void* out, Compute compute,
          Where where);

// ---- memory ------------------------------------------------------------------------------------

inline constexpr std::size_t kMaxDynamicShared = 227 * 1024;  // of an H200; older GPUs have less
void* dynamic_shared();

// cp.async: `bytes` from src to dst, or zeros where `in` is false. When the data lands is an
// option.
void copy_async(void* dst, const void* src, int bytes, bool in, Where where);
void copy_commit();
void copy_wait(unsigned pending_groups);
void copy_wait_all();

// Accesses that a compiler's instrumentation does not see, for the race detector.
enum class Access : std::uint8_t { kRead, kWrite, kAtomic };
void note(const void* address, std::size_t bytes, Access access, Where where);
void fence();  // __threadfence

// Reads N bytes in instrumented code, so that the address sanitizer judges an address which the
// engine, never instrumented, is about to use.
template <int N>
inline void probe([[maybe_unused]] const void* address) {
#ifdef VIVACE_SIMT_ASAN
  struct Bytes {
    char b[N];
  };
  const Bytes copy = *static_cast<const Bytes*>(address);
  asm volatile("" ::"m"(copy));
#endif
}

// ---- launching ---------------------------------------------------------------------------------

std::string kernel_name(const void* kernel);
void run_grid(const void* kernel, dim3 grid, dim3 block, std::size_t smem,
              void (*invoke)(const void*), const void* arguments);

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t smem, A&&... args) {
  using Call = std::pair<void (*)(P...), std::tuple<std::decay_t<P>...>>;
  const Call call(kernel, std::tuple<std::decay_t<P>...>(std::forward<A>(args)...));
  const auto invoke = [](const void* context) {
    const Call& c = *static_cast<const Call*>(context);
    std::apply(c.first, c.second);
  };
  run_grid(reinterpret_cast<const void*>(kernel), grid, block, smem, invoke, &call);
}

}  // namespace simt
