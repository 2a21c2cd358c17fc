// SPDX-License-Identifier: Apache-2.0
// What a kernel's host function receives: borrowed views of tensors, and where to run.
#pragma once

#include <cstdint>

namespace vivace {

constexpr int kMaxDims = 6;

enum class DType : std::uint8_t { kFloat32, kFloat16, kBFloat16, kFloat64, kInt64, kInt32, kUInt8 };

// A strided view of somebody else's memory, valid for one call. Strides count elements.
struct Tensor {
  void* data;
  int ndim;
  DType dtype;
  std::int64_t shape[kMaxDims];
  std::int64_t stride[kMaxDims];

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int i = 0; i < ndim; ++i) n *= shape[i];
    return n;
  }

  bool contiguous() const {
    if (numel() == 0) return true;
    std::int64_t expected = 1;
    for (int i = ndim - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
};

// Where and with what to run. On CUDA the value is the cudaStream_t; on the CPU it is the number of
// threads that torch would use, so that a kernel never takes more cores than its caller was given.
struct Stream {
  std::uintptr_t value;

  int threads() const { return value == 0 ? 1 : static_cast<int>(value); }
};

}  // namespace vivace
