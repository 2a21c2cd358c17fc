// SPDX-License-Identifier: Apache-2.0
// What a binding file needs: VIVACE_BIND(m) { m.def(...); } registers itself, so that a new op
// edits no list. `release` drops the GIL for the length of a kernel.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/dlpack.h"

namespace vivace {

namespace py = pybind11;
using namespace pybind11::literals;

using release = py::call_guard<py::gil_scoped_release>;

struct Binding {
  void (*define)(py::module_&);
  Binding* next;
  static Binding*& head() {
    static Binding* first = nullptr;
    return first;
  }
  explicit Binding(void (*f)(py::module_&)) : define(f), next(head()) { head() = this; }
};

}  // namespace vivace

#define VIVACE_BIND(m)                                   \
  static void vivace_define(pybind11::module_& m);       \
  static vivace::Binding vivace_binding{&vivace_define}; \
  static void vivace_define(pybind11::module_& m)
