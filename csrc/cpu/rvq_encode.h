// SPDX-License-Identifier: Apache-2.0
// The loops of csrc/cpu/rvq_encode.cpp over a vector type V, which avx2/ and avx512/rvq_encode.cpp
// bring: the Vec of vec.h with sqrt, columns, sums and keep_better. V being of an anonymous
// namespace, every function here stays inside the file that uses it.
#pragma once

#include <cstdint>

#include "core/rvq_encode.h"

namespace vivace::cpu {

constexpr int kRvqLanes = 16;  // scratch is laid out for the widest vectors
// Of the residual at a time: 256 KiB at width 1024, inside any L2. 48 to 128 run alike.
constexpr int kRvqFrames = 64;

struct RvqEncode : RvqTensors {
  std::int64_t width, books, rows, dim;
};

// What one thread writes while it works.
struct RvqScratch {
  float* residual;    // (kRvqFrames, width)
  float* codebook;    // normalised, [rows / lanes][dim][lanes]
  float* square;      // |c|² of those rows; −inf where the last panel has no row
  float* out_weight;  // [width / lanes][dim][lanes]
  float* latent;      // [dim][lanes], a frame per lane
  float* twice;       // 2 p / |p|, likewise
  float* length;      // |p / |p||² of every lane: 1, 0, or nearly so
  float* step;        // p + (q − p), [dim][lanes]
};

// kDim: the number of latents where it is known to the compiler, else 0.
template <class V, int kDim>
class RvqLoops {
 public:
  RvqLoops(const RvqEncode& problem, const RvqScratch& scratch) : p(problem), s(scratch) {}

  // Frames [begin, end), all codebooks. A frame takes the same arithmetic wherever it stands.
  void run(std::int64_t begin, std::int64_t end) const {
    for (std::int64_t first = begin; first < end; first += kRvqFrames) {
      const std::int64_t frames = end - first < kRvqFrames ? end - first : kRvqFrames;
      for (std::int64_t i = 0; i < frames * p.width; ++i) {
        s.residual[i] = p.z[first * p.width + i];
        p.quantized[first * p.width + i] = 0.0f;
      }
      for (std::int64_t book = 0; book < p.books; ++book) {
        pack(book);
        for (std::int64_t t = 0; t < frames; t += kLanes) {
          const int count = frames - t < kLanes ? static_cast<int>(frames - t) : kLanes;
          float* residual = s.residual + t * p.width;
          project(book, residual, count);
          normalise(book);
          search(book, first + t, count);
          float* quantized = p.quantized + (first + t) * p.width;
          for (std::int64_t d = 0; d < p.width; d += kChannels) {
            int f = 0;
            for (; f + kPair <= count; f += kPair) subtract<kPair>(book, residual, quantized, f, d);
            for (; f < count; ++f) subtract<1>(book, residual, quantized, f, d);
          }
        }
      }
    }
  }

 private:
  using Reg = typename V::Reg;
  static constexpr int kLanes = V::kWidth;
  static constexpr int kTile = kLanes / 4;            // frames of a tile of 4 projections
  static constexpr int kPair = kLanes == 16 ? 2 : 1;  // frames whose steps fit in registers
  static constexpr int kSearched = 4;                 // frames that share the loads of a codebook
  static constexpr int kChannels = 256;  // whose weights stay in L1 while the frames pass

  std::int64_t dim() const { return kDim > 0 ? kDim : p.dim; }

  // Rows [first, first + lanes) of a matrix (rows, dim), transposed.
  void panel(float* to, const float* matrix, std::int64_t first, std::int64_t rows) const {
    const std::int64_t left = rows - first;
    for (std::int64_t j = 0; j < dim(); j += 4) {
      const int dims = dim() - j < 4 ? static_cast<int>(dim() - j) : 4;
      Reg columns[4];
      V::columns(columns, matrix + first * dim() + j, dim(), left, dims);
      for (int i = 0; i < dims; ++i) V::store(to + (j + i) * kLanes, columns[i]);
    }
  }

  void pack(std::int64_t book) const {
    const float* codebook = p.codebooks + book * p.rows * dim();
    for (std::int64_t k = 0; k < p.rows; k += kLanes) {
      float* to = s.codebook + k * dim();
      panel(to, codebook, k, p.rows);
      Reg square = V::zero();
      for (std::int64_t j = 0; j < dim(); ++j) {
        const Reg c = V::load(to + j * kLanes);
        square = V::fma(c, c, square);
      }
      const Reg inverse = V::div(V::set(1.0f), V::max(V::sqrt(square), V::set(1e-12f)));
      square = V::zero();
      for (std::int64_t j = 0; j < dim(); ++j) {
        const Reg c = V::mul(V::load(to + j * kLanes), inverse);
        square = V::fma(c, c, square);
        V::store(to + j * kLanes, c);
      }
      V::store(s.square + k, square);
      for (std::int64_t i = p.rows - k; i < kLanes; ++i) s.square[k + i] = -__builtin_inff();
    }
    const float* weight = p.out_weight + book * p.width * dim();
    for (std::int64_t d = 0; d < p.width; d += kLanes) {
      panel(s.out_weight + d * dim(), weight, d, p.width);
    }
  }

  // latent = W_in residual. Lanes past the last frame repeat it.
  void project(std::int64_t book, const float* residual, int count) const {
    for (std::int64_t j = 0; j < dim(); j += 4) {
      const float* weight[4];
      for (int i = 0; i < 4; ++i) {
        const std::int64_t row = j + i < dim() ? j + i : dim() - 1;
        weight[i] = p.in_weight + (book * dim() + row) * p.width;
      }
      for (int f = 0; f < kLanes; f += kTile) {
        if (f >= count) {
          for (int i = 0; i < 4 && j + i < dim(); ++i) {
            for (int g = 0; g < kTile; ++g) s.latent[(j + i) * kLanes + f + g] = 0.0f;
          }
          continue;
        }
        const float* frame[kTile];
        for (int g = 0; g < kTile; ++g) {
          frame[g] = residual + (f + g < count ? f + g : count - 1) * p.width;
        }
        float sums[kLanes];
        V::store(sums, tile(weight, frame));
        for (int i = 0; i < 4 && j + i < dim(); ++i) {
          for (int g = 0; g < kTile; ++g) s.latent[(j + i) * kLanes + f + g] = sums[i * kTile + g];
        }
      }
    }
  }

  // Lane i * kTile + g of the result: weight[i] · frame[g].
  Reg tile(const float* const (&weight)[4], const float* const (&frame)[kTile]) const {
    Reg sums[4 * kTile];
    for (int i = 0; i < 4 * kTile; ++i) sums[i] = V::zero();
    std::int64_t d = 0;
    for (; d + kLanes <= p.width; d += kLanes) {
      Reg w[4];
      for (int i = 0; i < 4; ++i) w[i] = V::load(weight[i] + d);
      for (int g = 0; g < kTile; ++g) {
        const Reg r = V::load(frame[g] + d);
        for (int i = 0; i < 4; ++i) sums[i * kTile + g] = V::fma(w[i], r, sums[i * kTile + g]);
      }
    }
    if (const int left = static_cast<int>(p.width - d); left > 0) {
      for (int i = 0; i < 4; ++i) {
        const Reg w = V::load(weight[i] + d, left);
        for (int g = 0; g < kTile; ++g) {
          sums[i * kTile + g] = V::fma(w, V::load(frame[g] + d, left), sums[i * kTile + g]);
        }
      }
    }
    return V::sums(sums);
  }

  // Adds the bias; the latents' directions.
  void normalise(std::int64_t book) const {
    const float* bias = p.in_bias + book * dim();
    Reg square = V::zero();
    for (std::int64_t j = 0; j < dim(); ++j) {
      const Reg latent = V::add(V::load(s.latent + j * kLanes), V::set(bias[j]));
      V::store(s.latent + j * kLanes, latent);
      square = V::fma(latent, latent, square);
    }
    const Reg norm = V::max(V::sqrt(square), V::set(1e-12f));
    Reg length = V::zero();
    for (std::int64_t j = 0; j < dim(); ++j) {
      const Reg unit = V::div(V::load(s.latent + j * kLanes), norm);
      length = V::fma(unit, unit, length);
      V::store(s.twice + j * kLanes, V::add(unit, unit));
    }
    V::store(s.length, length);
  }

  // The row nearest by −(|u|² − 2u·c) + |c|², c of length 1; of equals the first. A score that is
  // no number never wins: a frame with a NaN gets row 0.
  void search(std::int64_t book, std::int64_t first, int count) const {
    for (int f = 0; f < count; f += kSearched) {
      Reg best[kSearched], index[kSearched];
      for (int g = 0; g < kSearched; ++g) best[g] = V::set(-__builtin_inff()), index[g] = V::zero();
      float number = 0.0f;  // of the panel; exact, because rows <= 2^27
      for (std::int64_t k = 0; k < p.rows; k += kLanes, number += 1.0f) {
        const float* codebook = s.codebook + k * dim();
        Reg product[kSearched];
        for (int g = 0; g < kSearched; ++g) product[g] = V::zero();
        for (std::int64_t j = 0; j < dim(); ++j) {
          const Reg c = V::load(codebook + j * kLanes);
          for (int g = 0; g < kSearched; ++g) {
            product[g] = V::fma(c, V::set(s.twice[j * kLanes + f + g]), product[g]);
          }
        }
        const Reg square = V::load(s.square + k);
        for (int g = 0; g < kSearched; ++g) {
          const Reg score = V::add(V::sub(product[g], V::set(s.length[f + g])), square);
          V::keep_better(score, V::set(number), best[g], index[g]);
        }
      }
      for (int g = 0; g < kSearched && f + g < count; ++g) {
        choose(book, first + f + g, f + g, lowest(best[g], index[g]));
      }
    }
  }

  // The first row among the lanes' best.
  static std::int64_t lowest(Reg best, Reg index) {
    float score[kLanes], number[kLanes];
    V::store(score, best);
    V::store(number, index);
    float top = score[0];
    for (int i = 1; i < kLanes; ++i) top = score[i] > top ? score[i] : top;
    std::int64_t row = INT64_MAX;
    for (int i = 0; i < kLanes; ++i) {
      const std::int64_t own = static_cast<std::int64_t>(number[i]) * kLanes + i;
      if (score[i] == top && own < row) row = own;
    }
    return row;
  }

  // Writes the code and the latents of a frame, and p + (q − p) for its step.
  void choose(std::int64_t book, std::int64_t frame, int lane, std::int64_t code) const {
    const float* row = p.codebooks + (book * p.rows + code) * dim();
    float* latents = p.latents + (frame * p.books + book) * dim();
    for (std::int64_t j = 0; j < dim(); ++j) {
      const float latent = s.latent[j * kLanes + lane];
      latents[j] = latent;
      s.step[j * kLanes + lane] = latent + (row[j] - latent);
    }
    p.codes[frame * p.books + book] = code;
  }

  // residual −= W_out step + b_out, quantized += the same, for kFrames frames from lane f on and
  // kChannels channels.
  template <int kFrames>
  void subtract(std::int64_t book, float* residual, float* quantized, int f,
                std::int64_t first) const {
    constexpr int kHeld = kDim > 0 ? kDim : 1;
    Reg held[kFrames][kHeld];
    if constexpr (kDim > 0) {
      for (int g = 0; g < kFrames; ++g) {
        for (int j = 0; j < kDim; ++j) held[g][j] = V::set(s.step[j * kLanes + f + g]);
      }
    }
    // Copies of what the loop needs: its stores could change the members, for all gcc knows.
    const float* bias = p.out_bias + book * p.width;
    const float* weights = s.out_weight;
    const std::int64_t width = p.width, dims = dim();
    float *r[kFrames], *q[kFrames];
    for (int g = 0; g < kFrames; ++g) {
      r[g] = residual + (f + g) * width;
      q[g] = quantized + (f + g) * width;
    }
    const std::int64_t last = width - first < kChannels ? width : first + kChannels;
    for (std::int64_t d = first; d < last; d += kLanes) {
      const float* weight = weights + d * dims;
      const int left = width - d < kLanes ? static_cast<int>(width - d) : kLanes;
      Reg step[kFrames], before[kFrames], sum[kFrames];
      const Reg b = part(bias + d, left);
      for (int g = 0; g < kFrames; ++g) {
        step[g] = b;
        before[g] = part(r[g] + d, left);
        sum[g] = part(q[g] + d, left);
      }
      for (std::int64_t j = 0; j < dims; ++j) {
        const Reg w = V::load(weight + j * kLanes);
        for (int g = 0; g < kFrames; ++g) {
          if constexpr (kDim > 0) {
            step[g] = V::fma(w, held[g][j], step[g]);
          } else {
            step[g] = V::fma(w, V::set(s.step[j * kLanes + f + g]), step[g]);
          }
        }
      }
      for (int g = 0; g < kFrames; ++g) {
        part(r[g] + d, left, V::sub(before[g], step[g]));
        part(q[g] + d, left, V::add(sum[g], step[g]));
      }
    }
  }

  // The first n channels of a vector, as a rule all.
  static Reg part(const float* from, int n) {
    return n < kLanes ? V::load(from, n) : V::load(from);
  }
  static void part(float* to, int n, Reg value) {
    if (n < kLanes) return V::store(to, value, n);
    V::store(to, value);
  }

  const RvqEncode& p;
  const RvqScratch& s;
};

template <class V>
void rvq_encode_frames(const RvqEncode& p, const RvqScratch& s, std::int64_t begin,
                       std::int64_t end) {
  if (p.dim == 8) return RvqLoops<V, 8>(p, s).run(begin, end);
  RvqLoops<V, 0>(p, s).run(begin, end);
}

}  // namespace vivace::cpu
