// SPDX-License-Identifier: Apache-2.0
// The schedule of the emulated GPU, as a test sets it. Bound into the _simt modules only.
#include <array>
#include <string>

#include "bindings/binding.h"
#include "simt/simt.hpp"

namespace {

constexpr std::array<const char*, 3> kOrders{"forward", "reverse", "shuffle"};
constexpr std::array<const char*, 3> kCopies{"eager", "late", "shuffle"};

template <class E>
E parse(const char* argument, const std::array<const char*, 3>& names, const std::string& name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (name == names[i]) return static_cast<E>(i);
  }
  throw pybind11::value_error(std::string("set_schedule: ") + argument + " must be " + names[0] +
                              ", " + names[1] + " or " + names[2] + ", got " + name);
}

}  // namespace

VIVACE_BIND(m) {
  using namespace pybind11::literals;
  m.def(
      "set_schedule",
      [](const std::string& order, bool fair, const std::string& copies, std::uint64_t seed) {
        simt::Options options;
        options.order = parse<simt::Order>("order", kOrders, order);
        options.fair = fair;
        options.copies = parse<simt::Copies>("copies", kCopies, copies);
        options.seed = seed;
        simt::set_options(options);
      },
      pybind11::kw_only(), "order"_a = "forward", "fair"_a = false, "copies"_a = "eager",
      "seed"_a = 0,
      "In which order the emulated blocks and threads run (forward, reverse, shuffle), whether "
      "released warps take turns (fair) or run on, when cp.async data lands (eager, late, "
      "shuffle). "
      "The same call is followed by the same schedules.");
  m.def(
      "schedule",
      [] {
        const simt::Options options = simt::options();
        return pybind11::dict("order"_a = kOrders[static_cast<std::size_t>(options.order)],
                              "fair"_a = options.fair,
                              "copies"_a = kCopies[static_cast<std::size_t>(options.copies)],
                              "seed"_a = options.seed);
      },
      "The arguments of the last set_schedule.");
  m.def("launches", &simt::launches, "Kernels launched so far, on every thread together.");
}
