// SPDX-License-Identifier: Apache-2.0
// The entry point of every native module: walks the bindings that were linked into it.
#include "bindings/binding.h"

PYBIND11_MODULE(VIVACE_MODULE_NAME, m, pybind11::mod_gil_not_used()) {
  for (const vivace::Binding* b = vivace::Binding::head(); b; b = b->next) b->define(m);
}
