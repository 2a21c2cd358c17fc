// SPDX-License-Identifier: Apache-2.0
// The one header of a kernel file, and the only place that knows nvcc from g++. It gives CUDA's
// types and intrinsics, DYNAMIC_SHARED, ptx:: (core/ptx.cuh says what each does) and launch().
// Compiled by g++ with -DVIVACE_SIMT the same kernels run on the CPU: csrc/simt.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/tensor.h"

#ifdef VIVACE_SIMT
#include "simt/cuda.hpp"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cxxabi.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "core/ptx.cuh"
#endif

// T* name = the launch's dynamic shared memory, aligned to 128 bytes and no more.
#ifdef VIVACE_SIMT
#define DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::simt::dynamic_shared())
#else
#define DYNAMIC_SHARED(T, name)                                           \
  extern __shared__ __align__(128) unsigned char vivace_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(vivace_dynamic_shared)
#endif

namespace vivace {

// A stream and where launch() was called. A parameter pack leaves no room for a default argument,
// so the call site is caught by the conversion from Stream.
struct LaunchSite {
  Stream stream;
  const char* file;
  int line;
  LaunchSite(Stream s, const char* f = __builtin_FILE(), int l = __builtin_LINE())
      : stream(s), file(f), line(l) {}
};

namespace detail {

inline std::string kernel_name(const void* kernel) {
#ifdef VIVACE_SIMT
  return ::simt::kernel_name(kernel);
#else
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || mangled == nullptr) return "a kernel";
  int status = 0;
  char* plain = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? plain : mangled;
  std::free(plain);
  return name;
#endif
}

[[noreturn]] inline void launch_failed(const LaunchSite& at, const void* kernel, dim3 grid,
                                       dim3 block, std::size_t smem, const std::string& reason) {
  const auto text = [](dim3 d) {
    return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) +
           ")";
  };
  throw std::runtime_error(std::string(at.file) + ":" + std::to_string(at.line) + ": launch of " +
                           kernel_name(kernel) + " with grid " + text(grid) + ", block " +
                           text(block) + ", " + std::to_string(smem) +
                           " bytes of shared memory: " + reason);
}

// What every GPU since sm_80 refuses, said before the driver says "invalid configuration argument".
inline const char* limit_exceeded(dim3 grid, dim3 block) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return "the grid is empty";
  if (block.x == 0 || block.y == 0 || block.z == 0) return "the block is empty";
  if (grid.x > 2147483647u) return "the grid has more than 2147483647 blocks in x";
  if (grid.y > 65535) return "the grid has more than 65535 blocks in y";
  if (grid.z > 65535) return "the grid has more than 65535 blocks in z";
  if (block.x > 1024 || block.y > 1024 || block.z > 64) return "the block exceeds (1024, 1024, 64)";
  const auto threads = static_cast<unsigned long long>(block.x) * block.y * block.z;
  return threads > 1024 ? "the block has more than 1024 threads" : nullptr;
}

}  // namespace detail

// Runs kernel(args...) on the stream. The only launch and the only error check of the project:
// throws std::runtime_error naming the call site, the kernel and the configuration. Errors that a
// kernel meets while running surface later on CUDA, as always; under the emulator they are thrown
// here.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t smem, LaunchSite at,
            A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "launch: one argument per kernel parameter");
  const void* address = reinterpret_cast<const void*>(kernel);
  if (const char* reason = detail::limit_exceeded(grid, block)) {
    detail::launch_failed(at, address, grid, block, smem, reason);
  }
#ifdef VIVACE_SIMT
  if (smem > ::simt::kMaxDynamicShared) {
    detail::launch_failed(at, address, grid, block, smem, "more than 227 KiB of shared memory");
  }
  ::simt::launch(kernel, grid, block, smem, std::forward<A>(args)...);
#else
  cudaError_t status = cudaSuccess;
  if (smem > 48 * 1024) {
    status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(smem));
  }
  if (status == cudaSuccess) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = smem;
    config.stream = reinterpret_cast<cudaStream_t>(at.stream.value);
    status = cudaLaunchKernelEx(&config, kernel, std::forward<A>(args)...);
  }
  if (status != cudaSuccess) {
    (void)cudaGetLastError();  // so that the next call does not report this error again
    detail::launch_failed(at, address, grid, block, smem, cudaGetErrorString(status));
  }
#endif
}

// What the current device has of what host functions choose by. The emulated one has an H200's
// memory and few multiprocessors, so that small tests reach the tiles of large problems.
struct Limits {
  int multiprocessors = 132;
  int shared_bytes = 227 * 1024;  // of one block
};

inline Limits limits() {
#ifdef VIVACE_SIMT
  Limits emulated;
  emulated.multiprocessors = 4;
  return emulated;
#else
  constexpr int kDevices = 64;
  static Limits known[kDevices];
  static std::atomic<bool> filled[kDevices];
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= kDevices) return {};
  if (!filled[device].load(std::memory_order_acquire)) {
    Limits found;
    cudaDeviceGetAttribute(&found.multiprocessors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&found.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    known[device] = found;
    filled[device].store(true, std::memory_order_release);
  }
  return known[device];
#endif
}

}  // namespace vivace
