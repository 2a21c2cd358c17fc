"""The work of `vivace dac` on one file, with the model loaded once."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor

from vivace import audio
from vivace.cli.quality import mel_distance, si_sdr
from vivace.cli.report import Record
from vivace.models.dac.file import DacFile
from vivace.models.dac.model import DacModel

__all__ = ["Codec"]


class Codec:
    """A DAC model and the options that the commands share.

    Raises ValueError where the model has fewer codebooks than asked for, and what
    ``DacModel.from_pretrained`` raises.
    """

    def __init__(
        self,
        model: str,
        part: str | None,
        codebooks: int | None,
        chunk_length_s: float | None,
        dtype: str,
        device: str,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = DacModel.from_pretrained(
            model,
            part=cast(Literal["encoder", "decoder"] | None, part),
            dtype=getattr(torch, dtype),
            device_map=device,
        ).eval()
        books = self.model.config.n_codebooks
        if codebooks is not None and codebooks > books:
            raise ValueError(f"it has {books} codebooks, --codebooks asks for {codebooks}")
        self.codebooks = codebooks
        self.chunk_length_s = chunk_length_s

    def run(self, command: str, source: Path, target: Path) -> Record:
        """Encodes, decodes or does both, and writes ``target``; errors are those of the library."""
        start = time.perf_counter()
        target.parent.mkdir(parents=True, exist_ok=True)
        quality: dict[str, float] = {}
        if command == "decode":
            file = DacFile.load(source)
            self._decode(file, target)
        else:
            original, rate = audio.load(source)
            file = DacFile.encode(
                self.model,
                original,
                rate,
                n_quantizers=self.codebooks,
                chunk_length_s=self.chunk_length_s,
            )
            if command == "encode":
                file.save(target)
            else:
                decoded = self._decode(file, target)
                quality["si_sdr_db"] = si_sdr(original, decoded)
                quality["mel_distance"] = mel_distance(original, decoded, rate)
        elapsed = time.perf_counter() - start
        seconds = file.original_length / file.sample_rate
        bits = file.codes.numel() * math.log2(self.model.config.codebook_size)
        return Record(
            str(source),
            str(target),
            seconds=seconds,
            codes_shape=list(file.codes.shape),
            bitrate=bits / seconds,
            real_time_factor=elapsed / seconds,
            quality=quality,
        )

    def _decode(self, file: DacFile, target: Path) -> Tensor:
        decoded, rate = file.decode(self.model, chunk_length_s=self.chunk_length_s)
        # A file of several clips has one more dimension; its clips become channels.
        decoded = decoded.flatten(0, -2)
        audio.save(target, decoded, rate)
        return decoded
