"""Mutants that no test of results can kill, each with the reason. They are not counted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mutation.operators import Mutant

# Files that are not mutated at all.
LEFT_OUT = {
    "csrc/core/ptx.cuh": "nvcc's side of the wrappers: the emulator has its own (csrc/simt)",
    "csrc/core/gpu.cuh": "launch and limits: half is nvcc's side, half is tested by tests/simt",
}


@dataclass(frozen=True)
class Rule:
    """A mutant of a file that ends with `file`, whose lines match both patterns."""

    file: str
    before: str
    reason: str
    after: str = ""

    def covers(self, mutant: Mutant) -> bool:
        return (
            mutant.file.endswith(self.file)
            and re.search(self.before, mutant.before) is not None
            and re.search(self.after, mutant.after) is not None
        )


_CHECKS = "only the host functions' checks ask it, which repeat those of the Python ops"
_SPEED = "decides how fast it is, not what it computes"
_IDLE = "one more block, which finds nothing to do"
_SLOW = "element by element, which is right for any alignment"
_CHOICE = "chooses a tile; every tile gives the same bits (test_every_tile, test_batch_...)"
_BANKS = "padding against bank conflicts: any length that is enough is right"
_HUGE = "matters from 2^28 samples per row on, which no test can hold"

_LONGER = r"^ *(const )?\w+ \w+(\[[\w:]+\])?\[[35]\]"

RULES = (
    Rule("residual_unit.cu", r"t\.data\) % 16 == 0 &&|t\.shape\[0\] == 1 \|\|", _CHECKS),
    Rule("conv1d.cu", r"residual->stride\[0\] : 0", "read where there is a residual", ": 1,"),
    Rule("", r"^ *(const )?(?!T )\w+ \w+(\[[\w:]+\])?\[[24]\]( =|;)", "room to spare", _LONGER),
    Rule("rvq_decode.cu", r"constexpr int (kBooks|kThreads) =", _SPEED),
    Rule("rvq_decode.cu", r"for \(int begin = 0;", "one more step, that both loops leave", "<="),
    Rule("rvq_decode.cu", r"id >= 0 && id < rows", "row 0 either way", "id > 0|id >= 1"),
    Rule("rvq_decode.cu", r"int64_t blocks = ", _IDLE, r"channels_per_block( \+ 1)?\) /"),
    Rule("rvq_decode.cu", r"bits % 16 == 0", _SLOW, r"/ 16|== 1"),
    Rule("conv_transpose1d.cu", r"sizeof\(T\)\) % 16 == 0;", _SLOW, r"/ 16|== 1"),
    Rule("snake.cu", r"value % 16 != 0", _SLOW, r"/ 16|!= 1"),
    Rule("snake.cu", r"t = begin \+ threadIdx", "computes again what is right", "t = threadIdx"),
    Rule(".cu", r"dim3\(kThreads\), 0, stream", "a byte that nobody uses", ", 1, stream"),
    Rule("snake.cu", r"^    constexpr std::int64_t kPerBlock", "blocks stride along a row"),
    Rule("snake.cu", r"int64_t blocks = ", _IDLE, r"kPerBlock( \+ 1)?\) /"),
    Rule("snake.cu", r"constexpr int (kThreads|kPacksPerThread)", _SPEED),
    Rule("snake.cu", r"^ +4;  // four independent", _SPEED),
    Rule("snake.cu", r"65535", _HUGE, r"65536|<= 65535|\+ 1 < 65535"),
    Rule("snake.cu", r"begin \+= gridDim\.y", _HUGE, "gridDim"),
    Rule("rvq_encode.cu", r"constexpr .* (kFewFrames|kManyFrames|kSharedLimit) =", _SPEED),
    Rule("rvq_encode.cu", r"kManyFrames \* frame_bytes <= kSharedLimit", _SPEED),
    Rule("rvq_encode.cu", r"i < kCount / 2; \+\+i", "the break is the bound", r"kCount \* 2|<="),
    Rule("conv1d.cu", r"smem < Tile::kScratchBytes", "sizes are multiples of 16", r"\+ 1 <|<="),
    Rule("conv1d.cu", r"g\.slabs = 1 \+", "a slab more than needed", r"kStages \+ least|1 \+ 1"),
    Rule("conv_transpose1d.cu", r"constexpr int kStages = 3", _SPEED),
    Rule("residual_unit.cu", r"y\.numel\(\) == 0", "the least y has 4 channels", "== 1"),
    Rule("conv_transpose1d.cu", r"\bexpected_time|^  const std::int64_t tiles = ", _CHOICE),
    Rule("conv_transpose1d.cu", r"Tile::kColumns\) \* batch;|\+ 131\) / 132", _CHOICE),
    Rule("conv_transpose1d.cu", r"if \((small < wide|narrow < wide)", _CHOICE),
    Rule(".cu", r"^  ptx::cp_async_wait_all\(\);", "the groups that are pending are empty"),
    Rule("residual_unit.cu", r"smem > device", "no tile takes exactly all memory", ">="),
    Rule("residual_unit.cu", r"base\.frames_out \+ tile\.kRows - 1|device\.multi", _CHOICE),
    Rule("residual_unit.cu", r"return rounds \* tile\.kRows", _CHOICE),
    Rule("residual_unit.cu", r"time\(large, 100\)", _CHOICE, r"10[01]\) <=? time|10[01]\) \+ 1"),
    Rule("conv1d.cu", r"constexpr std::int64_t kEveryGpuHas", _CHOICE),
    Rule("conv_slab.cuh", r"int slab_rows", _BANKS, r"needed \+ 6|/ 8 \* 9|8 \+ 3"),
    Rule("conv_tile.cuh", r"kScratchStride = kWarpColumns \+ 8", _BANKS, r"\+ 9"),
    Rule("conv1d_last.cuh", r"kLastPlane|\* kPerPlane<T> \+ 4;", _BANKS, r"\+ [45];"),
)


def reason(mutant: Mutant) -> str | None:
    """Why a mutant is equivalent, or None."""
    for rule in RULES:
        if rule.covers(mutant):
            return rule.reason
    return None
