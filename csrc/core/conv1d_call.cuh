// SPDX-License-Identifier: Apache-2.0
// One call of conv1d, as its kernels receive it.
#pragma once

#include "core/conv_activation.cuh"
#include "core/conv_slab.cuh"

namespace vivace::conv {

// In units of channels, frames and taps. The last block is of the tensor-core kernel alone.
struct Conv1dGeometry {
  int channels_in, channels_out;
  int frames_in, frames_out;
  int taps, stride, dilation, pad_left;

  int chunks;     // steps of kChunk input channels
  int tap_step;   // from tap to tap of a group
  int groups;     // group g holds the taps g, g + tap_step, ...
  int row_shift;  // in the slab, from tap to tap of a group
  int rows;       // of the slab, that are used
  int plane_bytes;
  int slabs;  // of the ring of slabs
  int tiles_down, tiles_across;
};

template <class T>
struct Conv1dCall {
  T* y;
  const T* x;
  const T* residual;                   // or null
  std::int64_t x_clip, residual_clip;  // elements from clip to clip
  const char* packed;
  int packed_planes, packed_columns;
  const float* bias;            // or null
  const std::int64_t* lengths;  // or null
  Prologue prologue;
  bool reflect, tanh;
  bool aligned_in, aligned_out;  // 16-byte accesses to x, to y and residual

  // The frames of a clip, row 0 being the first that output frame `frame` reads.
  __device__ Frames frames(const Conv1dGeometry& g, int clip, int frame) const {
    Frames result{frame * g.stride - g.pad_left, g.stride, g.frames_in, reflect};
    if (lengths != nullptr && lengths[clip] < g.frames_in) {
      result.length = static_cast<int>(lengths[clip]);
    }
    return result;
  }
};

}  // namespace vivace::conv
