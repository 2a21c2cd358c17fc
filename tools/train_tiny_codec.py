"""Train the embedded codec `vivace/tiny-16khz`: a small DAC on the pool of fetch_codec_data.py.

The start is a lapped transform with PCA and k-means codebooks (codec_start.py); losses on mels,
STFT magnitudes, band envelopes, waveform and latents improve it. A checkpoint is written every few
minutes, and `--resume` goes on from it.

    python tools/train_tiny_codec.py --minutes 60 --export python/vivace/assets/tiny-16khz
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from codec_data import SAMPLE_RATE, CropSampler, held_out_clips
from codec_layout import decode, encode
from codec_losses import EnvelopeCorrelation, SpectralDistance, waveform_distance
from codec_start import start_codebooks, start_transform
from pystoi import stoi
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from vivace import DacConfig, DacFeatureExtractor, DacModel

START_STEP = 10**9  # the data of the start: far from any training step
START_BATCHES = 64
MONITORED = 3  # held-out clips that the log follows


def codec_config() -> DacConfig:
    """3.4 M parameters, 50 frames per second, 8 codebooks of 10 bits: 4 kbit/s."""
    return DacConfig(
        encoder_hidden_size=16,
        decoder_hidden_size=384,
        downsampling_ratios=[8, 5, 4, 2],
        n_codebooks=8,
        codebook_size=1024,
        codebook_dim=8,
        quantizer_dropout=0.5,
        sampling_rate=SAMPLE_RATE,
    )


def parameter_groups(model: nn.Module, rate: float, encoder_share: float) -> list[dict[str, Any]]:
    """One group per tensor with its own peak rate, since Adam's steps do not know a layer's scale.

    A step of `peak` on every weight of a row moves the output by up to fan_in * peak: `rate` is
    that movement relative to the output's own size. Codebooks are no part of it: they follow
    running means.
    """
    groups: list[dict[str, Any]] = []

    def add(parameter: Tensor, peak: float) -> None:
        groups.append({"params": [parameter], "peak": peak, "weight_decay": 0.0})

    for name, module in model.named_modules():
        part = rate if name.startswith("decoder") else encoder_share * rate
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose1d):
                fan_in = 2 * module.in_channels
            size = float(module.weight.detach().square().mean().sqrt())
            if ".res_unit" in name:
                size = max(size, 0.4 * fan_in**-0.5)  # residual units start at 0
            output = 0.4 if name.endswith("in_proj") else size * fan_in**0.5
            add(module.weight, part * output / fan_in)
            if module.bias is not None:
                add(module.bias, 0.01 * part * output)
        elif isinstance(alpha := getattr(module, "alpha", None), nn.Parameter):
            add(alpha, 0.005 * part * float(alpha.detach().mean()))
    return groups


class Trainer:
    """Model, optimizer, averaged weights and codebook statistics of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        torch.manual_seed(options.seed)
        self.data = CropSampler(options.data, options.crop, options.batch, options.seed)
        # Any: nn.Module types the submodules that are used here as Tensor | Module.
        model: Any = DacModel(codec_config())
        self.model = model.train()
        self.step, self.elapsed = 0, 0.0
        config = self.model.config
        self.usage = torch.full((config.n_codebooks, config.codebook_size), self.fair_usage())
        self.checkpoint = options.data / f"{options.name}.pt"
        state = None
        if options.resume:
            state = torch.load(self.checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
        else:
            self.start()
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        quantizers: Any = self.model.quantizer.quantizers
        rows = torch.stack([stage.codebook.weight.detach() for stage in quantizers])
        self.totals = rows * self.fair_usage()
        self.alphas = [p for n, p in self.model.named_parameters() if n.endswith("alpha")]
        groups = parameter_groups(self.model, options.rate, options.encoder_share)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.8, 0.99))
        if state is not None:
            self.restore(state)
        self.distance, self.envelopes = SpectralDistance(), EnvelopeCorrelation()
        self.encode = torch.compile(lambda audio: encode(self.model.encoder, audio))
        self.decode = torch.compile(lambda latents: decode(self.model.decoder, latents))

    def start(self) -> None:
        """Begin as a transform codec instead of random weights."""
        batches = [self.data.batch_at(START_STEP + i) for i in range(START_BATCHES)]
        start_transform(self.model, torch.cat(batches[:8]))
        with torch.no_grad():
            latents = torch.cat([encode(self.model.encoder, batch) for batch in batches])
        start_codebooks(self.model.quantizer, latents)

    def fair_usage(self) -> float:
        """Frames per step that each code would get if all were used equally."""
        frames = self.options.batch * self.options.crop / self.model.config.hop_length
        return float(frames / self.model.config.codebook_size)

    def progress(self) -> float:
        """Share of the budget used, 0 to 1."""
        if self.options.steps:
            return min(1.0, self.step / int(self.options.steps))
        return min(1.0, self.elapsed / (60 * float(self.options.minutes)))

    def schedule(self) -> float:
        """Share of the peak rate: linear warm-up, then a cosine over the budget."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress()))
        return min(1.0, (self.step + 1) / 100) * (0.01 + 0.99 * cosine)

    def train_step(self) -> dict[str, float]:
        """One batch forward, backward and update; returns the parts of the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.schedule()
        audio = self.data.batch_at(self.step)
        latents = self.encode(audio)
        quantized, codes, projected, *_ = self.model.quantizer(latents)
        projected = projected.unflatten(1, (codes.shape[1], -1)).transpose(2, 3)
        commitment = self.commitment(codes, projected)
        estimate = self.decode(quantized)[:, 0]
        reference = audio[:, 0, : estimate.shape[1]]
        mel, linear = self.distance(estimate, reference)
        wave = waveform_distance(estimate, reference)
        envelope = self.envelopes(estimate, reference)
        loss = 2.0 * mel + linear + 0.3 * wave + 2.0 * envelope + 0.5 * commitment
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 100.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        with torch.no_grad():
            for alpha in self.alphas:
                alpha.clamp_(min=0.01)
            decay = min(0.998, (1 + self.step) / (10 + self.step))
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        self.update_codebooks(codes, projected.detach())
        self.step += 1
        parts = {"mel": mel, "lin": linear, "wave": wave, "env": envelope, "vq": commitment}
        return {name: part.item() for name, part in parts.items()}

    def rows(self, codes: Tensor) -> Tensor:
        """Codebook rows (B, N, T, D) of codes (B, N, T)."""
        stages = self.model.quantizer.quantizers
        return torch.stack([stage.codebook(codes[:, i]) for i, stage in enumerate(stages)], dim=1)

    def commitment(self, codes: Tensor, projected: Tensor) -> Tensor:
        """Squared distance of latents (B, N, T, D) from their codes; loud frames count less."""
        weight = 1 / (1 + projected.detach().square().mean(-1, keepdim=True) / 4)
        distance = (projected - self.rows(codes).detach()).square()
        return (weight * distance).mean((0, 2, 3)).sum()

    @torch.no_grad()
    def update_codebooks(self, codes: Tensor, projected: Tensor) -> None:
        """Move every row to the running mean of the latents that chose it (VQ-VAE, appendix A.1).

        Every 20 steps a code below a tenth of the fair share gets the direction of a random latent;
        its length is that of the row which the latent had chosen, since directions decide.
        """
        books, size = self.usage.shape
        lengths = self.rows(codes).norm(dim=-1, keepdim=True)
        candidates = (F.normalize(projected, dim=-1) * lengths).transpose(0, 1).flatten(1, 2)
        for book in range(books):
            chosen, usage, total = codes[:, book].flatten(), self.usage[book], self.totals[book]
            usage.lerp_(torch.bincount(chosen, minlength=size).float(), 0.01)
            latents = projected[:, book].flatten(0, 1)
            total.lerp_(torch.zeros_like(total).index_add_(0, chosen, latents), 0.01)
            codebook = self.model.quantizer.quantizers[book].codebook.weight
            codebook.copy_(total / usage[:, None].clamp(min=1e-6))
            if self.step % 20 or self.progress() > 0.85:
                continue
            dead = usage < 0.1 * self.fair_usage()
            rows = candidates[book][torch.randint(candidates.shape[1], (int(dead.sum()),))]
            usage[dead] = self.fair_usage() * 0.5
            total[dead] = rows * self.fair_usage() * 0.5
            codebook[dead] = rows
            self.average[f"quantizer.quantizers.{book}.codebook.weight"][dead] = rows

    @torch.no_grad()
    def monitor(self) -> dict[str, float]:
        """STOI of the averaged weights on held-out clips, at all and at half the codebooks."""
        copy: Any = DacModel(self.model.config)
        copy.eval()
        copy.load_state_dict(self.average)
        books = copy.config.n_codebooks
        result: dict[str, float] = {}
        clips = list(held_out_clips().values())[:MONITORED]
        for used in (books, books // 2):
            scores = []
            for clip in clips:
                latents = copy.encoder(torch.from_numpy(clip)[None, None])
                decoded = copy.decoder(copy.quantizer(latents, used)[0])[0, 0].numpy()
                scores.append(stoi(clip[: len(decoded)], decoded, SAMPLE_RATE))
            result[f"stoi{used}"] = float(np.mean(scores))
        alive = self.usage > 0.1 * self.fair_usage()
        result["used"] = float(alive.float().sum(1).mean())
        return result

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {"model": self.model.state_dict(), "average": self.average, "usage": self.usage}
        state |= {"totals": self.totals, "optimizer": self.optimizer.state_dict()}
        state |= {"step": self.step, "elapsed": self.elapsed}
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def restore(self, state: dict[str, Any]) -> None:
        """Take everything but the weights and the peak rates from a checkpoint."""
        peaks = [group["peak"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=True):
            group["peak"] = peak
        self.average, self.usage, self.totals = state["average"], state["usage"], state["totals"]
        self.step, self.elapsed = state["step"], state["elapsed"]
        torch.manual_seed(self.options.seed + self.step)

    def export(self, folder: Path) -> None:
        """Write the averaged weights as float16, the config and the feature extractor."""
        folder.mkdir(parents=True, exist_ok=True)
        config: Any = codec_config()
        config.dtype = "float32"  # what the weights become when they are loaded
        config.architectures = ["DacModel"]
        config.quantizer_dropout = 0.0
        config.save_pretrained(folder)
        extractor = DacFeatureExtractor(sampling_rate=SAMPLE_RATE, hop_length=config.hop_length)
        extractor.save_pretrained(folder)
        weights = {name: value.half().contiguous() for name, value in self.average.items()}
        partial = folder / "model.partial"
        save_file(weights, partial, metadata={"format": "pt"})
        partial.chmod(0o644)  # save_file leaves it readable by its owner alone
        os.replace(partial, folder / "model.safetensors")


def train(trainer: Trainer) -> None:
    """Run until the budget is used; checkpoint and monitor every few minutes."""
    options = trainer.options
    log = options.data / f"{options.name}.jsonl"
    smooth: dict[str, float] = {}
    saved = time.monotonic()
    total = options.steps or None
    bar = tqdm(initial=trainer.step, total=total, unit="step", mininterval=10.0)
    while trainer.progress() < 1.0:
        began = time.monotonic()
        for name, value in trainer.train_step().items():
            smooth[name] = 0.98 * smooth.get(name, value) + 0.02 * value
        trainer.elapsed += time.monotonic() - began
        bar.update()
        bar.set_postfix({name: f"{value:.3f}" for name, value in smooth.items()}, refresh=False)
        if time.monotonic() - saved > 60 * options.every:
            began = time.monotonic()
            trainer.save()
            record = {"step": trainer.step, "minutes": trainer.elapsed / 60, **smooth}
            record |= trainer.monitor()
            with log.open("a") as stream:
                stream.write(json.dumps({k: round(v, 4) for k, v in record.items()}) + "\n")
            saved = time.monotonic()
            trainer.elapsed += saved - began
    trainer.save()
    trainer.export(options.export)


def main() -> None:
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    add = parser.add_argument
    add("--data", type=Path, default=Path("build/codec"), help="pool, checkpoints, log")
    add("--export", type=Path, default=Path("build/codec/tiny-16khz"), help="model folder")
    add("--name", default="run", help="name of the checkpoint and the log")
    add("--minutes", type=float, default=60.0)
    add("--steps", type=int, default=0, help="budget in steps instead of minutes: repeatable")
    add("--every", type=float, default=4.0, help="minutes between checkpoints")
    add("--batch", type=int, default=4)
    add("--crop", type=int, default=12_800, help="samples per example")
    add("--rate", type=float, default=0.3, help="peak relative change per step")
    add("--encoder-share", type=float, default=0.4, help="the encoder's part of the rate")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--resume", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(Trainer(options))


if __name__ == "__main__":
    main()
