"""Training crops from the pool of fetch_codec_data.py; held-out clips that never enter it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 16_000
HELD_OUT = Path("/usr/share/pocketsphinx/test/data")
MIXTURE = {"speech": 0.8, "synthetic": 0.12, "music": 0.08}

Audio = NDArray[np.float32]


def held_out_clips() -> dict[str, Audio]:
    """Clips of Debian's pocketsphinx-testdata over 2 s, by name: float32 (samples,), 16 kHz."""
    clips: dict[str, Audio] = {}
    for path in sorted((HELD_OUT / "librivox").glob("*.wav")) + sorted(
        HELD_OUT.glob("cards/*.wav")
    ):
        clips[path.stem], _ = soundfile.read(path, dtype="float32")
    for name in ("goforward", "numbers", "something"):
        raw = np.fromfile(HELD_OUT / f"{name}.raw", dtype="<i2")
        clips[name] = raw.astype(np.float32) / 32768.0
    if not clips:
        raise RuntimeError(
            f"held_out_clips: nothing under {HELD_OUT}; run fetch_codec_data.py first"
        )
    return {name: audio for name, audio in clips.items() if audio.size > 2 * SAMPLE_RATE}


class CropSampler:
    """Random augmented crops; a batch depends on (seed, step) only, also in a resumed run."""

    def __init__(self, folder: Path, crop: int, batch: int, seed: int) -> None:
        self.pool = np.load(folder / "pool.npy", mmap_mode="r")
        self.crop, self.batch, self.seed = crop, batch, seed
        index = json.loads((folder / "index.json").read_text())
        self.ranges: dict[str, tuple[int, int]] = {}
        for kind in MIXTURE:
            entries = [entry for entry in index if entry["kind"] == kind]
            self.ranges[kind] = (entries[0]["start"], entries[-1]["start"] + entries[-1]["length"])

    def batch_at(self, step: int) -> Tensor:
        """Audio (batch, 1, crop), float32."""
        draw = np.random.default_rng((self.seed, step))
        return torch.from_numpy(np.stack([self.example(draw) for _ in range(self.batch)])[:, None])

    def example(self, draw: np.random.Generator) -> Audio:
        audio = self.resampled(draw)
        if draw.random() < 0.5:
            audio = equalized(audio, draw)
        if draw.random() < 0.12:
            other = self.resampled(draw)
            audio = audio + other * (level(audio) / level(other)) * decibels(draw.uniform(-20, -3))
        if draw.random() < 0.25:
            noise = equalized(draw.standard_normal(self.crop, dtype=np.float32), draw)
            audio = audio + noise * (level(audio) / level(noise)) * decibels(draw.uniform(-45, -15))
        gain = decibels(draw.uniform(-32, -16)) / level(audio)
        return (audio * min(gain, 0.98 / float(np.abs(audio).max() + 1e-6))).astype(np.float32)

    def resampled(self, draw: np.random.Generator) -> Audio:
        """A crop at 0.72 to 1.35 times its speed: pitch and formants move together."""
        kind = draw.choice(list(MIXTURE), p=list(MIXTURE.values()))
        start, stop = self.ranges[kind]
        ratio = (
            float(np.exp(draw.uniform(np.log(0.72), np.log(1.35)))) if draw.random() < 0.6 else 1.0
        )
        length = int(np.ceil(self.crop * ratio)) + 64
        first = int(draw.integers(start, stop - length))
        audio = self.pool[first : first + length].astype(np.float32) / 32768.0
        if ratio != 1.0:
            audio = soxr.resample(audio, ratio * SAMPLE_RATE, SAMPLE_RATE, quality="LQ")
        return np.pad(audio, (0, max(0, self.crop - audio.size)))[: self.crop]


def level(audio: Audio) -> float:
    """Root mean square, never 0."""
    return float(np.sqrt(np.mean(audio * audio)) + 1e-4)


def decibels(value: float) -> float:
    return float(10.0 ** (value / 20.0))


def equalized(audio: Audio, draw: np.random.Generator) -> Audio:
    """Filter with a smooth random response: eight gains within 9 dB, more of them at the bottom."""
    spectrum = np.fft.rfft(audio)
    knots = draw.uniform(-9, 9, size=8)
    response = np.interp(np.linspace(0, 7, spectrum.size) ** 0.5 * 7**0.5, np.arange(8), knots)
    return np.fft.irfft(spectrum * 10 ** (response / 20), n=audio.size).astype(np.float32)
