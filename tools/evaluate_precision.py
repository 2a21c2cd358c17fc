"""How far a DAC's arithmetic is from float64: SNR of decoded audio, match rate of codes.

    python tools/evaluate_precision.py [--model FOLDER_OR_ID]

Codes and audio are those of the bundled clip of read speech. For every precision the kernels of
this machine and torch alone are compared with the float64 model on the same input. With one thread:
what torch makes of "medium" depends on their number.
"""

from __future__ import annotations

import argparse
import copy
from importlib.resources import as_file, files
from typing import Any

import torch
from torch import Tensor

import vivace

# (label, dtype of the model, torch.set_float32_matmul_precision)
PRECISIONS = (
    ("float32", torch.float32, "highest"),
    ("float32, medium", torch.float32, "medium"),
    ("bfloat16", torch.bfloat16, "highest"),
    ("float16", torch.float16, "highest"),
)


def snr(audio: Tensor, truth: Tensor) -> float:
    """Signal-to-noise ratio in dB of audio against the truth."""
    noise = audio.double() - truth
    return float(10 * torch.log10(truth.square().sum() / noise.square().sum()))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vivace/tiny-16khz")
    torch.set_num_threads(1)
    model: Any = vivace.DacModel.from_pretrained(parser.parse_args().model)
    rate, hop = model.config.sampling_rate, model.config.hop_length
    with as_file(files("vivace") / "assets/speech/sense_and_sensibility.wav") as path:
        clip, _ = vivace.audio.load(path, sample_rate=rate)
    audio = clip[:, : clip.shape[1] // hop * hop][None]

    exact = copy.deepcopy(model).double()
    codes = exact.encode(audio.double()).audio_codes
    truth = exact.decode(audio_codes=codes).audio_values
    titles = ("precision", "run by", "decode SNR dB", "codes equal %", "first book %")
    print(" | ".join(f"{title:>15}" for title in titles))
    for label, dtype, products in PRECISIONS:
        typed = copy.deepcopy(model).to(dtype)
        torch.set_float32_matmul_precision(products)
        for backend, name in (("torch", "torch"), ("auto", "vivace")):
            with vivace.backend(backend):
                decoded = typed.decode(audio_codes=codes).audio_values
                same = typed.encode(audio.to(dtype)).audio_codes == codes
            row = (
                label,
                name,
                f"{snr(decoded, truth):.1f}",
                f"{100 * same.double().mean():.2f}",
                f"{100 * same[:, 0].double().mean():.2f}",
            )
            print(" | ".join(f"{cell:>15}" for cell in row))
    torch.set_float32_matmul_precision("highest")


if __name__ == "__main__":
    main()
