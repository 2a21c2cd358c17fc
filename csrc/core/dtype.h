// SPDX-License-Identifier: Apache-2.0
// The only switch over element types. A kernel's host function hands a generic lambda to
// dispatch_float, which calls it with a Tag naming the C++ type.
#pragma once

#include "core/check.h"
#include "core/gpu.cuh"
#include "core/tensor.h"

namespace vivace {

template <class T>
struct Tag {
  using type = T;
};

template <class F>
void dispatch_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(Tag<float>{});
    case DType::kFloat16:
      return f(Tag<__half>{});
    case DType::kBFloat16:
      return f(Tag<__nv_bfloat16>{});
    default:
      check(false, "expected a float32, float16 or bfloat16 tensor");
  }
}

// Arithmetic happens in float32; these are the only conversions.
__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

}  // namespace vivace
