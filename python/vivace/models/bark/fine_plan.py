"""What each window of the fine stage sees and fills: frames of eight codebooks."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace.models.bark.generation_config import (
    BarkCoarseGenerationConfig,
    BarkFineGenerationConfig,
    BarkSemanticGenerationConfig,
)
from vivace.models.bark.history import Histories, rows_of


@dataclass
class FineRow:
    """One row of the batch: history, coarse codes and padding, filled in place."""

    codes: Tensor  # (history + frames + padding, 8)
    history: int  # frames of the prompt
    frames: int  # frames to give

    def result(self) -> Tensor:
        """The codes (8, frames)."""
        return self.codes[self.history : self.history + self.frames].T


class FinePlan:
    """The arithmetic of the windows. `length` is a window's frames, `step` how far they move."""

    def __init__(
        self,
        semantic: BarkSemanticGenerationConfig,
        coarse: BarkCoarseGenerationConfig,
        fine: BarkFineGenerationConfig,
        codebook_size: int,
    ) -> None:
        self.codebook_size = codebook_size
        self.offset: int = semantic.semantic_vocab_size
        self.given: int = coarse.n_coarse_codebooks
        self.books: int = fine.n_fine_codebooks
        self.length: int = fine.max_fine_input_length
        self.step: int = fine.max_fine_history_length
        self.predicted = self.books - self.given

    def codes(self, coarse_output: Tensor) -> Tensor:
        """Coarse tokens (B, 2·T) as codes (B, T, 2)."""
        if coarse_output.ndim != 2 or coarse_output.shape[1] % self.given:
            raise ValueError(
                f"fine: coarse_output must have shape (B, {self.given}·T), got "
                f"{tuple(coarse_output.shape)}"
            )
        frames = coarse_output.to(torch.int64).view(coarse_output.shape[0], -1, self.given)
        return torch.remainder(frames - self.offset, self.codebook_size)

    def rows(self, codes: Tensor, frames: list[int], history_prompt: Histories) -> list[FineRow]:
        """The rows of a batch of codes (B, T, 2), of which frames[b] are row b's."""
        pad = self.codebook_size
        rows = []
        histories = rows_of(history_prompt, len(codes), codes.device, ["fine_prompt"])
        for row, count, history in zip(codes, frames, histories, strict=True):
            all_books = F.pad(row[:count], (0, self.predicted), value=pad)
            before = row.new_empty((0, self.books))
            if history is not None:
                before = self._history(history["fine_prompt"])
            all_books = torch.cat((before, all_books))
            missing = max(0, self.length - len(all_books))
            all_books = F.pad(all_books, (0, 0, 0, missing), value=pad)
            rows.append(FineRow(all_books, len(before), count))
        return rows

    def groups(self, rows: list[FineRow]) -> list[list[int]]:
        """The rows by shape: rows of one shape go through the model together. Empty ones do not."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, row in enumerate(rows):
            if row.frames:
                groups.setdefault((row.history, len(row.codes)), []).append(i)
        return list(groups.values())

    def windows(self, row: FineRow) -> int:
        """How many windows a row takes."""
        beyond = row.frames - (self.length - row.history)
        return max(0, math.ceil(beyond / self.step)) + 1

    def window(self, row: FineRow, index: int) -> tuple[int, int]:
        """The first frame that a window sees, and the first that it fills."""
        start = min(index * self.step, len(row.codes) - self.length)
        fill = min(row.history + index * self.step, len(row.codes) - self.step)
        return start, fill

    def _history(self, codes: Tensor) -> Tensor:
        """The last frames (<= 512, 8) of a prompt (8, T)."""
        if codes.shape[0] != self.books or bool(
            ((codes < 0) | (codes >= self.codebook_size)).any()
        ):
            raise ValueError(
                f"history_prompt: fine_prompt must be ({self.books}, T) codes in "
                f"[0, {self.codebook_size}), got shape {tuple(codes.shape)}"
            )
        return codes.T[max(0, codes.shape[1] - self.step) :]
