"""Measure a DAC folder on held-out read speech: STOI, SI-SDR, mel distance, bitrate and codes used.

    python tools/evaluate_codec.py --model python/vivace/assets/tiny-16khz [--json]

The clips are Debian's pocketsphinx-testdata, which no training run sees (tools/codec_data.py).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from codec_data import SAMPLE_RATE, Audio, held_out_clips
from codec_losses import SpectralDistance
from pystoi import stoi
from torch import Tensor

from vivace import DacModel


def scale_invariant_sdr(estimate: Audio, reference: Audio) -> float:
    """SI-SDR in dB of two (samples,) signals, means removed (Le Roux et al., 2019)."""
    estimate, reference = estimate - estimate.mean(), reference - reference.mean()
    target = reference * (estimate @ reference / (reference @ reference))
    noise = estimate - target
    return float(10 * np.log10((target @ target) / (noise @ noise)))


@torch.inference_mode()
def round_trip(model: Any, clip: Audio, codebooks: int) -> tuple[Audio, Tensor]:
    """Return the decoded audio, cut to the clip's length, and the codes (codebooks, frames)."""
    padded = np.pad(clip, (0, -clip.size % model.config.hop_length + model.config.hop_length))
    codes = model.encode(torch.from_numpy(padded)[None, None], codebooks).audio_codes
    audio = model.decode(audio_codes=codes).audio_values[0].numpy()
    return audio[: clip.size], codes[0]


def evaluate(model: Any, codebooks: int) -> dict[str, object]:
    """Means over the held-out clips with the first `codebooks` codebooks."""
    distance = SpectralDistance()
    rows: dict[str, dict[str, float]] = {}
    seen: list[Tensor] = []
    for name, clip in held_out_clips().items():
        audio, codes = round_trip(model, clip, codebooks)
        mel, _ = distance(torch.from_numpy(audio)[None], torch.from_numpy(clip)[None])
        rows[name] = {
            "seconds": clip.size / SAMPLE_RATE,
            "stoi": float(stoi(clip, audio, SAMPLE_RATE)),
            "si_sdr_db": scale_invariant_sdr(audio, clip),
            "mel_distance": float(mel),
        }
        seen.append(codes)
    bits = codebooks * int(np.log2(model.config.codebook_size))
    frames = torch.cat(seen, dim=1)
    read = [row for name, row in rows.items() if "sense_and_sensibility" in name]
    keys = ("stoi", "si_sdr_db", "mel_distance")
    return {
        "codebooks": codebooks,
        "bitrate_kbps": bits * SAMPLE_RATE / model.config.hop_length / 1000,
        "mean": {key: float(np.mean([row[key] for row in rows.values()])) for key in keys},
        "mean_read_speech": {key: float(np.mean([row[key] for row in read])) for key in keys},
        "frames": frames.shape[1],
        "codes_used": [len(torch.unique(book)) for book in frames],
        "clips": rows,
    }


def table(results: list[dict[str, object]]) -> str:
    """One line per number of codebooks, as a Markdown table."""
    lines = [
        "| codebooks | kbit/s | clips | STOI | SI-SDR (dB) | mel distance |",
        "|" + " --- |" * 6,
    ]
    for result in results:
        for label, key in (("all", "mean"), ("read speech", "mean_read_speech")):
            mean = result[key]
            assert isinstance(mean, dict)
            figures = f"{mean['stoi']:.3f} | {mean['si_sdr_db']:.2f} | {mean['mel_distance']:.3f}"
            head = f"| {result['codebooks']} | {result['bitrate_kbps']:.1f} | {label} |"
            lines.append(f"{head} {figures} |")
    for result in results:
        used, frames = result["codes_used"], result["frames"]
        lines.append(f"codes used per book, {result['codebooks']} books, {frames} frames: {used}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="folder with config.json and weights"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = DacModel.from_pretrained(str(options.model))
    books = model.config.n_codebooks
    results = [evaluate(model, used) for used in (books, books // 2)]
    print(json.dumps(results, indent=1) if options.json else table(results))


if __name__ == "__main__":
    main()
