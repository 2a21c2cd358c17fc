// SPDX-License-Identifier: Apache-2.0
// Names for people: kernels, source lines, thread indices. Costs nothing until there is an error.
#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "simt/engine.hpp"

namespace simt {
namespace {

// Output lines of addr2line for an address of this library: function, file:line, and so on outwards
// through the inlined calls. Empty without binutils.
std::vector<std::string> addr2line(const void* address) {
  Dl_info info{};
  if (!dladdr(address, &info) || !info.dli_fname) return {};
  std::string path;
  for (const char* p = info.dli_fname; *p; ++p) path += *p == '\'' ? "'\\''" : std::string(1, *p);
  char offset[32];
  std::snprintf(offset, sizeof offset, "0x%tx",
                static_cast<const char*>(address) - static_cast<const char*>(info.dli_fbase));
  const std::string command =
      "LD_PRELOAD= addr2line -Cfie '" + path + "' " + offset + " 2>/dev/null";
  std::vector<std::string> lines;
  if (FILE* pipe = popen(command.c_str(), "r")) {
    char buffer[4096];
    while (std::fgets(buffer, sizeof buffer, pipe)) {
      lines.emplace_back(buffer);
      while (!lines.back().empty() && lines.back().back() == '\n') lines.back().pop_back();
    }
    pclose(pipe);
  }
  return lines;
}

// "void vivace::(anonymous namespace)::snake_kernel<float>(float*, ...)" -> "snake_kernel<float>"
std::string shorten(std::string name) {
  for (const char* noise : {"(anonymous namespace)::", "vivace::"}) {
    for (std::size_t at; (at = name.find(noise)) != std::string::npos;) {
      name.erase(at, std::string(noise).size());
    }
  }
  if (name.rfind("void ", 0) == 0) name.erase(0, 5);
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
  }
  return name;
}

bool is_engine(const std::string& line) {
  return line.find("csrc/simt/") != std::string::npos || line.find("/bits/") != std::string::npos;
}

}  // namespace

std::string kernel_name(const void* kernel) {
  Dl_info info{};
  if (dladdr(kernel, &info) && info.dli_sname && info.dli_saddr == kernel) {
    int status = 0;
    char* plain = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    const std::string name = status == 0 ? plain : info.dli_sname;
    std::free(plain);
    return shorten(name);
  }
  // Kernels in anonymous namespaces have no dynamic symbol.
  const auto lines = addr2line(kernel);
  return lines.size() < 2 || lines[lines.size() - 2] == "??" ? "a kernel"
                                                             : shorten(lines[lines.size() - 2]);
}

std::string source_line(const void* return_address) {
  const auto lines = addr2line(static_cast<const char*>(return_address) - 1);
  std::string chain;
  int shown = 0;
  for (std::size_t i = 1; i < lines.size() && shown < 3; i += 2) {
    std::string line = lines[i].substr(0, lines[i].find(" (discriminator"));
    if (line.rfind("./", 0) == 0) line.erase(0, 2);  // the build folder, as the flags rename it
    if (is_engine(line) || line.rfind("??", 0) == 0) continue;
    chain += (shown++ ? " inlined into " : "") + line;
  }
  return chain.empty() ? "an unknown line" : chain;
}

std::string text(Where where) { return std::string(where.file) + ":" + std::to_string(where.line); }

std::string text(const uint3& i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string hex(std::uint32_t mask) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "0x%08x", mask);
  return buffer;
}

}  // namespace simt
