// SPDX-License-Identifier: Apache-2.0
// Questions to the CUDA driver that must not fail where there is none.
#pragma once

namespace vivace::driver {

int device_count();     // GPUs offered to this build; 0 without a driver or with one too old
int driver_version();   // 13000 for CUDA 13.0; 0 without a driver
int runtime_version();  // of the runtime linked into this module

}  // namespace vivace::driver
