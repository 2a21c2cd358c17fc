// SPDX-License-Identifier: Apache-2.0
#include "bindings/binding.h"
#include "core/isa.h"

VIVACE_BIND(m) {
  namespace isa = vivace::isa;
  using namespace pybind11::literals;
  m.def("detected_isa", [] { return isa::name(isa::detected()); }, "Best instruction set here.");
  m.def("active_isa", [] { return isa::name(isa::active()); }, "Instruction set in use.");
  m.def("set_isa_cap", &isa::set_cap, "name"_a,
        "Caps the instruction set: generic, avx2, avx512, amx; '' removes the cap.");
}
