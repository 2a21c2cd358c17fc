// SPDX-License-Identifier: Apache-2.0
#include "cases.hpp"

#include <cstring>
#include <exception>
#include <string>

#include "simt/simt.hpp"

extern "C" {

void set_schedule(int order, int fair, int copies, std::uint64_t seed) {
  simt::Options options;
  options.order = static_cast<simt::Order>(order);
  options.fair = fair != 0;
  options.copies = static_cast<simt::Copies>(copies);
  options.seed = seed;
  simt::set_options(options);
}

// Null when all went well; the text is valid until the next call.
const char* run_case(const char* name, void* const* buffers, const std::int64_t* numbers) {
  static std::string error;
  for (Case* c = Case::first(); c; c = c->next) {
    if (std::strcmp(c->name, name) != 0) continue;
    try {
      c->run({buffers, numbers});
      return nullptr;
    } catch (const std::exception& e) {
      error = e.what();
      return error.c_str();
    }
  }
  error = std::string("no case ") + name;
  return error.c_str();
}

}  // extern "C"
