// SPDX-License-Identifier: Apache-2.0
// The conv1d family with float32 products on AVX2: cpu/conv_float32.h with this Vec.
#include "cpu/avx2/vec.h"
#include "cpu/conv_float32.h"

namespace vivace::avx2 {

const cpu::Loops conv_float32 = cpu::Float32Conv<Vec>::loops;

}  // namespace vivace::avx2
