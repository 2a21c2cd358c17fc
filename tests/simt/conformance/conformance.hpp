// SPDX-License-Identifier: Apache-2.0
// What every wrapper and intrinsic computes for seeded inputs, on a GPU or under the emulator. A
// case is a kernel of one block over 32-bit words; Python knows what the words mean
// (tests/simt/models.py).
#pragma once

#include <vector>

#include "core/gpu.cuh"

namespace conformance {

using Words = std::vector<unsigned>;
using Kernel = void (*)(unsigned* out, const unsigned* in);

struct Case {
  const char* name;
  Kernel kernel;
  int threads;
  Words in;
  int out;  // words
  Case* next;
  static Case*& first() {
    static Case* head = nullptr;
    return head;
  }
  Case(const char* n, Kernel k, int block, Words input, int output)
      : name(n), kernel(k), threads(block), in(std::move(input)), out(output), next(first()) {
    first() = this;
  }
};

// Random words; floats uniform in [low, high); floats of any exponent between 2^low and 2^high.
Words words(int count, unsigned seed);
Words uniform(int count, float low, float high, unsigned seed);
Words exponents(int count, int low, int high, unsigned seed);
// Zeros, infinities, NaN, denormals, the largest number, halfway cases of the 16-bit types.
Words special();
Words concatenate(Words a, const Words& b);

}  // namespace conformance
