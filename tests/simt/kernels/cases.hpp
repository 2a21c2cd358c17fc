// SPDX-License-Identifier: Apache-2.0
// How Python reaches the kernels of this folder: CASE(name) { launch(...); } registers a function
// under its name, run_case() calls it with buffers and numbers and returns the error's text.
#pragma once

#include <cstdint>

#include "core/gpu.cuh"

struct Arguments {
  void* const* buffers;
  const std::int64_t* numbers;
  template <class T>
  T* as(int i) const {
    return static_cast<T*>(buffers[i]);
  }
  int operator[](int i) const { return static_cast<int>(numbers[i]); }
};

struct Case {
  const char* name;
  void (*run)(const Arguments&);
  Case* next;
  static Case*& first() {
    static Case* head = nullptr;
    return head;
  }
  Case(const char* n, void (*f)(const Arguments&)) : name(n), run(f), next(first()) {
    first() = this;
  }
};

#define CASE(name)                              \
  static void name##_case(const Arguments&);    \
  static Case name##_entry(#name, name##_case); \
  static void name##_case([[maybe_unused]] const Arguments& args)

inline constexpr vivace::Stream kStream{0};
