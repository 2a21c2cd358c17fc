// SPDX-License-Identifier: Apache-2.0
// CUDA C++ for g++: what core/gpu.cuh includes under VIVACE_SIMT. Vector types, half and bfloat16
// are CUDA's own headers; the qualifiers lose their meaning; what is device-only comes from this
// folder.
#pragma once

#include <vector_functions.h>
// Before the macros below: these headers use the qualifiers themselves.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __grid_constant__
#undef __launch_bounds__
#undef __maxnreg__
#define __global__
#define __device__
#define __host__
#ifdef VIVACE_SIMT_ASAN
#define __shared__ static
#else
#define __shared__ static thread_local
#endif
#define __constant__ const
#define __grid_constant__
#define __launch_bounds__(...)
#define __maxnreg__(...)

#include "simt/simt.hpp"

#define threadIdx (::simt::current->index)
#define blockIdx (::simt::grid.block_index)
#define blockDim (::simt::grid.block_dim)
#define gridDim (::simt::grid.grid_dim)
inline constexpr int warpSize = 32;

#include "simt/memory.hpp"
#include "simt/numeric.hpp"
#include "simt/ptx.hpp"
#include "simt/warp.hpp"

// An error of the kernel, and not the end of the process; whatever NDEBUG says, for these are
// tests.
#include <cassert>
#undef assert
#define assert(condition) \
  ((condition) ? void() : ::simt::fail("assertion failed: " #condition, ::simt::here()))
