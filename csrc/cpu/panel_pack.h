// SPDX-License-Identifier: Apache-2.0
// Writes the panels of panel.h. Compiled without instruction-set flags.
#pragma once

#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/parallel.h"
#include "cpu/conv_pack.h"
#include "cpu/panel.h"

namespace vivace::cpu {

// One panel of rows of `bits`, which are copied as they are: row(i) -> the row of the weight that
// is output i of the panel, or -1 for none.
template <class Bits, class Row>
void pack_panel(Bits* to, const Bits* weight, std::int64_t depth, bool paired, const Row& row) {
  std::memset(to, 0, sizeof(Bits) * kPanel * even(depth));
  for (int i = 0; i < kPanel; ++i) {
    const std::int64_t from = row(i);
    if (from < 0) continue;
    const int lane = !paired ? i : i < 16 ? 2 * i : 2 * (i - 16) + 1;
    for (std::int64_t k = 0; k < depth; ++k) to[k * kPanel + lane] = weight[from * depth + k];
  }
}

// Whole steps of (the row's largest magnitude) / 127, which becomes the scale.
template <class Row>
void pack_panel_int8(std::int8_t* to, float* scale, const Tensor& weight, std::int64_t depth,
                     const Row& row) {
  std::memset(to, 0, static_cast<std::size_t>(kPanel * even(depth)));
  for (int i = 0; i < kPanel; ++i) {
    const std::int64_t from = row(i);
    scale[i] = 0.0f;
    if (from < 0) continue;
    float largest = 0.0f;
    for (std::int64_t k = 0; k < depth; ++k) {
      largest = std::fmax(largest, std::fabs(element(weight, from * depth + k)));
    }
    scale[i] = largest / 127.0f;
    if (!(scale[i] > 0.0f) || std::isinf(scale[i])) continue;
    for (std::int64_t k = 0; k < depth; ++k) {
      const float steps = element(weight, from * depth + k) / scale[i];
      to[k * kPanel + i] = std::isnan(steps) ? 0 : static_cast<std::int8_t>(std::nearbyint(steps));
    }
  }
}

// weight (m.outputs, m.depth) into the memory of m; row(panel, i) as above.
template <class Row>
void pack_panels(const Matrix& m, const Tensor& weight, int threads, const Row& row) {
  parallel_for(threads, panels_of(m.outputs), [&](std::int64_t panel) {
    const auto of_panel = [&](int i) { return row(panel, i); };
    char* to = const_cast<char*>(m.panel(panel));
    if (m.stored == Stored::kInt8) {
      pack_panel_int8(reinterpret_cast<std::int8_t*>(to),
                      const_cast<float*>(m.scale) + panel * kPanel, weight, m.depth, of_panel);
    } else if (m.stored == Stored::kFloat32) {
      pack_panel(reinterpret_cast<std::uint32_t*>(to), weight.as<std::uint32_t>(), m.depth, false,
                 of_panel);
    } else {
      pack_panel(reinterpret_cast<std::uint16_t*>(to), weight.as<std::uint16_t>(), m.depth,
                 m.stored == Stored::kBFloat16, of_panel);
    }
  });
}

inline Stored stored_as(DType dtype) {
  if (dtype == DType::kFloat32) return Stored::kFloat32;
  return dtype == DType::kBFloat16 ? Stored::kBFloat16 : Stored::kFloat16;
}

// A bump allocator over memory that may be null: then it only measures.
class Cursor {
 public:
  explicit Cursor(char* base) : base_(base) {}

  char* bytes(std::int64_t n) {
    char* const at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (n + 63) / 64 * 64;
    return at;
  }
  float* floats(std::int64_t n) { return reinterpret_cast<float*>(bytes(4 * n)); }
  std::int64_t used() const { return used_; }

  Matrix matrix(std::int64_t outputs, std::int64_t depth, Stored stored, bool bias) {
    const std::int64_t padded = panels_of(outputs) * kPanel;
    Matrix m{outputs, depth, stored, nullptr, nullptr, nullptr};
    if (bias) m.bias = floats(padded);
    if (stored == Stored::kInt8) m.scale = floats(padded);
    m.panels = bytes(panels_of(outputs) * m.panel_bytes());
    return m;
  }

 private:
  char* base_;
  std::int64_t used_ = 0;
};

}  // namespace vivace::cpu
