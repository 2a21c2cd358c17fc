// SPDX-License-Identifier: Apache-2.0
// conformance FOLDER: runs every case and writes FOLDER/<case>.{in,out}.npy. On a GPU:
//   nvcc -std=c++17 -arch=native -Icsrc tests/simt/conformance/*.cu -o conformance
//   ./conformance tests/simt/golden
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "conformance.hpp"

namespace conformance {

static unsigned next(unsigned long long& state) {  // splitmix64
  unsigned long long z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<unsigned>((z ^ (z >> 31)) >> 32);
}

static unsigned bits(float x) {
  unsigned word;
  std::memcpy(&word, &x, 4);
  return word;
}

Words words(int count, unsigned seed) {
  unsigned long long state = seed;
  Words out(count);
  for (unsigned& w : out) w = next(state);
  return out;
}

Words uniform(int count, float low, float high, unsigned seed) {
  Words out = words(count, seed);
  for (unsigned& w : out) w = bits(low + (high - low) * static_cast<float>(w >> 8) / 16777216.0f);
  return out;
}

Words exponents(int count, int low, int high, unsigned seed) {
  Words out = words(count, seed);
  for (unsigned& w : out) {
    const int exponent = low + static_cast<int>(w % static_cast<unsigned>(high - low));
    w = bits(std::ldexp(1.0f + static_cast<float>(w >> 9) / 8388608.0f, exponent));
  }
  return out;
}

Words special() {
  return {0x00000000u, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0x00000001u, 0x807fffffu,
          0x7f7fffffu, 0x3f800000u, 0xbf800000u, 0x3f801000u, 0x3f803000u, 0x3f808000u, 0x3f818000u,
          0x3f800fffu, 0x3f801001u, 0x477fe000u, 0x477fefffu, 0x477ff000u, 0x33000000u, 0x33000001u,
          0x387fc000u, 0x387fe000u, 0x3f807fffu, 0x3f808001u, 0x7f7f8000u, 0x40490fdbu, 0xc2c80000u,
          0x461c4000u, 0x4f000000u, 0xcf000000u, 0x4effffffu};
}

Words concatenate(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

#ifdef VIVACE_SIMT
static unsigned* allocate(std::size_t count) { return new unsigned[count]; }
static void release(unsigned* p) { delete[] p; }
static void finish() {}
#else
static void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}
static unsigned* allocate(std::size_t count) {
  unsigned* p = nullptr;
  check(cudaMallocManaged(&p, count * sizeof(unsigned)));
  return p;
}
static void release(unsigned* p) { check(cudaFree(p)); }
static void finish() { check(cudaDeviceSynchronize()); }
#endif

static void write_npy(const std::string& path, const unsigned* data, std::size_t count) {
  std::string header =
      "{'descr': '<u4', 'fortran_order': False, 'shape': (" + std::to_string(count) + ",), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  FILE* file = std::fopen(path.c_str(), "wb");
  if (!file) throw std::runtime_error("cannot write " + path);
  const unsigned char magic[] = {0x93,
                                 'N',
                                 'U',
                                 'M',
                                 'P',
                                 'Y',
                                 1,
                                 0,
                                 static_cast<unsigned char>(header.size() & 255),
                                 static_cast<unsigned char>(header.size() >> 8)};
  bool ok = std::fwrite(magic, sizeof magic, 1, file) == 1;
  ok = ok && std::fwrite(header.data(), header.size(), 1, file) == 1;
  ok = ok && std::fwrite(data, sizeof(unsigned), count, file) == count;
  if (std::fclose(file) != 0 || !ok) throw std::runtime_error("cannot write " + path);
}

static void run(const Case& c, const std::string& folder) {
  unsigned* in = allocate(c.in.size());
  unsigned* out = allocate(static_cast<std::size_t>(c.out));
  std::memcpy(in, c.in.data(), c.in.size() * sizeof(unsigned));
  std::memset(out, 0xee, static_cast<std::size_t>(c.out) * sizeof(unsigned));
  vivace::launch(c.kernel, dim3(1), dim3(c.threads), 0, vivace::Stream{0}, out, in);
  finish();
  write_npy(folder + "/" + c.name + ".in.npy", in, c.in.size());
  write_npy(folder + "/" + c.name + ".out.npy", out, static_cast<std::size_t>(c.out));
  release(in);
  release(out);
}

}  // namespace conformance

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  try {
    for (auto* c = conformance::Case::first(); c; c = c->next) conformance::run(*c, argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
