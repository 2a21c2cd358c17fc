// SPDX-License-Identifier: Apache-2.0
// The conv1d family with float32 products on AVX-512: cpu/conv_float32.h with this Vec.
#include "cpu/avx512/vec.h"
#include "cpu/conv_float32.h"

namespace vivace::avx512 {

const cpu::Loops conv_float32 = cpu::Float32Conv<Vec>::loops;

}  // namespace vivace::avx512
