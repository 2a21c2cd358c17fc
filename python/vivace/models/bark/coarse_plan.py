"""What each window of the coarse stage sees: semantic tokens, the infer token, coarse tokens."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace.models.bark.generation_config import (
    BarkCoarseGenerationConfig,
    BarkSemanticGenerationConfig,
)
from vivace.models.bark.history import Histories, rows_of


@dataclass
class CoarseRow:
    """One row of the batch: its tokens before and while it is generated."""

    semantic: Tensor  # the history's and the text's
    base: int  # how many are the history's
    coarse: Tensor  # the history's and those made
    length: int  # how many to make


class CoarsePlan:
    """The arithmetic between semantic tokens, coarse tokens and windows."""

    def __init__(
        self,
        semantic: BarkSemanticGenerationConfig,
        config: BarkCoarseGenerationConfig,
        codebook_size: int,
    ) -> None:
        self.semantic, self.config, self.codebook_size = semantic, config, codebook_size
        rate: float = config.coarse_rate_hz / semantic.semantic_rate_hz
        self.ratio: float = rate * config.n_coarse_codebooks  # coarse tokens per semantic token
        self.most_semantic: int = math.floor(config.max_coarse_history / self.ratio)

    def lengths(self, semantic_output: Tensor) -> Tensor:
        """How many tokens each row (B,) gets: whole frames of all codebooks, int32."""
        ended = semantic_output == self.semantic.semantic_pad_token
        ended |= semantic_output == self.config.coarse_semantic_pad_token
        books = self.config.n_coarse_codebooks
        frames = torch.floor((~ended).sum(1) * self.ratio / books)
        return torch.round(frames * books).int()

    def rows(
        self, semantic_output: Tensor, lengths: list[int], history_prompt: Histories
    ) -> list[CoarseRow]:
        """The rows of a batch (B, n), none of whose tokens has been made."""
        pad = self.config.coarse_semantic_pad_token
        tokens = semantic_output.to(torch.int64)
        tokens = tokens.masked_fill(tokens == self.semantic.semantic_pad_token, pad)
        keys = ["semantic_prompt", "coarse_prompt"]
        rows = []
        histories = rows_of(history_prompt, len(tokens), tokens.device, keys)
        for row, history, length in zip(tokens, histories, lengths, strict=True):
            before, coarse = row.new_empty(0), row.new_empty(0)
            if history is not None:
                before, coarse = self._history(history["semantic_prompt"], history["coarse_prompt"])
            rows.append(CoarseRow(torch.cat((before, row)), len(before), coarse, length))
        return rows

    def continues(self, row: CoarseRow, done: int) -> bool:
        """Whether the window after `done` tokens sees all that the one before it saw and made."""
        return self._start(row, done) == 0 and len(row.coarse) <= self.config.max_coarse_history

    def inputs(self, rows: list[CoarseRow], done: int) -> tuple[Tensor, list[int]]:
        """The ids (B, T) that the window after `done` tokens begins with, and each row's length."""
        config = self.config
        size, pad = config.max_coarse_input_length, config.coarse_semantic_pad_token
        ids = []
        for row in rows:
            start = self._start(row, done)
            semantic = row.semantic[start : start + size]
            semantic = F.pad(semantic, (0, size - len(semantic)), value=pad)
            infer = semantic.new_tensor([config.coarse_infer_token])
            coarse = row.coarse[max(0, len(row.coarse) - config.max_coarse_history) :]
            ids.append(torch.cat((semantic, infer, coarse)))
        sizes = [len(each) for each in ids]
        padded = [F.pad(each, (0, max(sizes) - len(each)), value=pad) for each in ids]
        return torch.stack(padded), sizes

    def _start(self, row: CoarseRow, done: int) -> int:
        return max(0, row.base + round(done / self.ratio) - self.most_semantic)

    def _history(self, before: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The last semantic tokens of a prompt and the coarse ones of the same time."""
        size = self.codebook_size
        if bool(((codes < 0) | (codes >= size)).any()):
            raise ValueError(
                f"history_prompt: coarse_prompt must hold codes in [0, {size}), got "
                f"{int(codes.min())}..{int(codes.max())}"
            )
        offsets = torch.arange(codes.shape[0], device=codes.device)[:, None] * size
        flat = (codes + offsets + self.semantic.semantic_vocab_size).T.reshape(-1)
        kept = min(
            self.most_semantic,
            len(before) - len(before) % 2,
            math.floor(len(flat) / self.ratio),
        )
        # Counted from the front: [-0:] would be everything.
        before = before[len(before) - kept :]
        flat = flat[max(0, len(flat) - round(kept * self.ratio)) :]
        # The last frame is left out: suno found that the times then agree better.
        return before, flat[:-2]
