// SPDX-License-Identifier: Apache-2.0
#include "bindings/binding.h"
#include "core/driver.h"

VIVACE_BIND(m) {
  namespace driver = vivace::driver;
  m.def("device_count", &driver::device_count, "GPUs that the driver offers; 0 without a driver.");
  m.def("driver_version", &driver::driver_version, "CUDA version of the driver, e.g. 13000, or 0.");
  m.def("runtime_version", &driver::runtime_version, "CUDA version of the linked runtime.");
}
