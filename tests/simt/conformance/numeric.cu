// SPDX-License-Identifier: Apache-2.0
// Error tables: approximate functions, conversions, half and bfloat16 arithmetic. out:
// [function][input].
#include "conformance.hpp"

namespace conformance {
namespace {

constexpr int kCount = 1024;

template <class F>
__device__ void each(F f) {
  for (int i = threadIdx.x; i < kCount; i += blockDim.x) f(i);
}

__global__ void trigonometry_kernel(unsigned* out, const unsigned* in) {
  each([=](int i) {
    const float x = __uint_as_float(in[i]);
    float s;
    float c;
    __sincosf(x, &s, &c);
    out[i] = __float_as_uint(__sinf(x));
    out[kCount + i] = __float_as_uint(__cosf(x));
    out[2 * kCount + i] = __float_as_uint(s);
    out[3 * kCount + i] = __float_as_uint(c);
  });
}
Case sine_period("sine_period", trigonometry_kernel, 32,
                 uniform(kCount, -3.14159274f, 3.14159274f, 41), 4 * kCount);
Case sine_large("sine_large", trigonometry_kernel, 32, uniform(kCount, -1e4f, 1e4f, 42),
                4 * kCount);

__global__ void exponential_kernel(unsigned* out, const unsigned* in) {
  each([=](int i) {
    const float x = __uint_as_float(in[i]);
    out[i] = __float_as_uint(__expf(x));
    out[kCount + i] = __float_as_uint(__exp10f(x * 0.4f));
    out[2 * kCount + i] = __float_as_uint(__tanhf(x * 0.1f));
    out[3 * kCount + i] = __float_as_uint(normcdff(x * 0.1f));
  });
}
Case exponential("exponential", exponential_kernel, 32, uniform(kCount, -80.0f, 80.0f, 43),
                 4 * kCount);

__global__ void positive_kernel(unsigned* out, const unsigned* in) {
  each([=](int i) {
    const float x = __uint_as_float(in[i]);
    const float r[9] = {__logf(x),    __log2f(x),     __log10f(x),     rsqrtf(x), __fsqrt_rn(x),
                        __frcp_rn(x), __frsqrt_rn(x), __powf(x, 0.3f), rcbrtf(x)};
    for (int j = 0; j < 9; ++j) out[kCount * j + i] = __float_as_uint(r[j]);
  });
}
Case positive("positive", positive_kernel, 32, exponents(kCount, -60, 60, 44), 9 * kCount);

// in: pairs a, b.
__global__ void divide_kernel(unsigned* out, const unsigned* in) {
  each([=](int i) {
    const float a = __uint_as_float(in[i]);
    const float b = __uint_as_float(in[kCount + i]);
    const float r[6] = {__fdividef(a, b),   __fdiv_rn(a, b), __fmaf_rn(a, b, a),
                        __saturatef(a - b), sinpif(a),       cospif(a)};
    for (int j = 0; j < 6; ++j) out[kCount * j + i] = __float_as_uint(r[j]);
  });
}
Case divide("divide", divide_kernel, 32, uniform(2 * kCount, 0.5f, 64.0f, 45), 6 * kCount);

// float32 to half, bfloat16 and integers, and the 16-bit values back. in: specials, then any
// exponent.
__global__ void convert_kernel(unsigned* out, const unsigned* in) {
  each([=](int i) {
    const float x = __uint_as_float(in[i]);
    const __half h = __float2half_rn(x);
    const __nv_bfloat16 b = __float2bfloat16_rn(x);
    const unsigned r[10] = {__half_as_ushort(h),
                            __bfloat16_as_ushort(b),
                            __float_as_uint(__half2float(h)),
                            __float_as_uint(__bfloat162float(b)),
                            static_cast<unsigned>(__float2int_rn(x)),
                            static_cast<unsigned>(__float2int_rz(x)),
                            static_cast<unsigned>(__float2int_rd(x)),
                            static_cast<unsigned>(__float2int_ru(x)),
                            __float2uint_rn(x),
                            static_cast<unsigned>(__float2ll_rn(x) >> 16)};
    for (int j = 0; j < 10; ++j) out[kCount * j + i] = r[j];
  });
}
Case convert("convert", convert_kernel, 32,
             concatenate(special(), exponents(kCount - 32, -30, 40, 46)), 10 * kCount);

__device__ unsigned raw(__half x) { return __half_as_ushort(x); }
__device__ unsigned raw(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }

// in: floats a, b, c, rounded to T first.
template <class T>
__global__ void sixteen_kernel(unsigned* out, const unsigned* in) {
  each([=](int i) {
    const T a(__uint_as_float(in[i]));
    const T b(__uint_as_float(in[kCount + i]));
    const T c(__uint_as_float(in[2 * kCount + i]));
    const T magnitude = __habs(a);
    const T r[15] = {a + b,
                     a * b,
                     __hfma(a, b, c),
                     __hfma_relu(a, b, c),
                     __hmax(a, b),
                     hexp(a),
                     hexp2(a),
                     hlog(magnitude),
                     hlog2(magnitude),
                     hsin(a),
                     hcos(a),
                     hsqrt(magnitude),
                     hrsqrt(magnitude),
                     hrcp(a),
                     htanh(a)};
    for (int j = 0; j < 15; ++j) out[kCount * j + i] = raw(r[j]);
  });
}
Case half("half", sixteen_kernel<__half>, 32, uniform(3 * kCount, -3.0f, 3.0f, 47), 15 * kCount);
Case bfloat16("bfloat16", sixteen_kernel<__nv_bfloat16>, 32, uniform(3 * kCount, -3.0f, 3.0f, 48),
              15 * kCount);

}  // namespace
}  // namespace conformance
