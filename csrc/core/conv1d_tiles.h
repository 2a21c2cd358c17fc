// SPDX-License-Identifier: Apache-2.0
// Which tile computes a convolution: integer arithmetic on the shape alone, checked when compiled.
#pragma once

#include <cstdint>

namespace vivace::conv {

// A tile of the list, and the time that it takes per output in percent of the best: 100 where the
// tensor cores are the bound, more where shared memory is (it feeds small warp tiles too slowly).
struct TileCost {
  int rows;
  int columns;
  int percent;
};

constexpr TileCost kTiles[] = {
    {32, 64, 240},  {64, 64, 180},  {128, 64, 115},  {256, 64, 105},  {128, 96, 103},
    {192, 96, 100}, {224, 96, 100}, {128, 128, 101}, {160, 128, 100},
};
constexpr int kTileCount = sizeof(kTiles) / sizeof(kTiles[0]);

// The index of the tile with the least time for `clips` x `frames` outputs of `channels` channels:
// each of the multiprocessors computes whole tiles, one after the other. The first of equals.
constexpr int choose_tile(std::int64_t clips, std::int64_t frames, std::int64_t channels,
                          int multiprocessors) {
  int best = 0;
  std::int64_t best_time = 0;
  for (int i = 0; i < kTileCount; ++i) {
    const TileCost tile = kTiles[i];
    const std::int64_t down = (frames + tile.rows - 1) / tile.rows;
    const std::int64_t across = (channels + tile.columns - 1) / tile.columns;
    const std::int64_t rounds = (clips * down * across + multiprocessors - 1) / multiprocessors;
    const std::int64_t time = rounds * tile.rows * tile.columns * tile.percent;
    if (i == 0 || time < best_time) {
      best = i;
      best_time = time;
    }
  }
  return best;
}

constexpr bool chosen(std::int64_t frames, std::int64_t channels, int rows, int columns,
                      int multiprocessors = 132) {
  const TileCost tile = kTiles[choose_tile(1, frames, channels, multiprocessors)];
  return tile.rows == rows && tile.columns == columns;
}

// The blocks of DAC's 44 kHz decoder, 10 s and 1 s, on an H200.
static_assert(chosen(441344, 96, 224, 96) && chosen(44544, 96, 192, 96));
static_assert(chosen(220672, 192, 224, 96));
static_assert(chosen(55168, 384, 160, 128) && chosen(5568, 384, 128, 128));
static_assert(chosen(6896, 768, 160, 128) && chosen(696, 768, 64, 64));
static_assert(chosen(1, 1, 32, 64));

// The emulated GPU has 4 multiprocessors: test_every_tile reaches all tiles with these sizes.
static_assert(chosen(30, 64, 32, 64, 4) && chosen(65, 96, 64, 64, 4));
static_assert(chosen(129, 96, 128, 64, 4) && chosen(513, 64, 256, 64, 4));
static_assert(chosen(257, 96, 128, 96, 4) && chosen(513, 96, 192, 96, 4));
static_assert(chosen(769, 96, 224, 96, 4) && chosen(257, 128, 128, 128, 4));
static_assert(chosen(513, 128, 160, 128, 4));

}  // namespace vivace::conv
