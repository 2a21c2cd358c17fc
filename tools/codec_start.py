"""A start for DAC training that already is a codec: lapped transform, PCA, k-means codebooks.

A cascade of modified discrete cosine transforms (Princen and Bradley, 1986) fits DAC's strided
convolutions (kernel 2 s, stride s) exactly, and their transposes in the decoder invert it. With the
codebooks it reaches STOI 0.75 on read speech before the first training step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRUNK_ALPHA = 0.01  # snake(x) is close to x: the transform passes through

# Beside projections of unit size: large, so that choice by angle is close to choice by distance.
CONSTANT = 4.0


def lapped_transform(hop: int) -> Tensor:
    """MDCT basis (hop, 2 hop) with a sine window; orthonormal under overlap-add."""
    n = torch.arange(2 * hop) + 0.5
    k = torch.arange(hop)[:, None] + 0.5
    window = torch.sin(math.pi / (2 * hop) * n)
    return math.sqrt(2 / hop) * window * torch.cos(math.pi / hop * (n + hop / 2) * k)


def cascade_weight(hop: int, bands: int, limit: int) -> Tensor:
    """Weight (limit or fewer, bands, 2 hop) that splits each band into `hop`, low to high."""
    basis = lapped_transform(hop)
    weight = torch.zeros(min(bands * hop, limit), bands, 2 * hop)
    for band in range(bands):
        for j in range(hop):
            # A decimated odd band has its spectrum mirrored.
            frequency = band * hop + (j if band % 2 == 0 else hop - 1 - j)
            if frequency < len(weight):
                weight[frequency, band] = basis[j]
    return weight


def scatter(weight: Tensor, structured: Tensor, quiet: float, fan_in: int) -> None:
    """Fill weight with noise, `quiet` in the rows of `structured`, which is added at its start."""
    nn.init.normal_(weight, std=fan_in**-0.5)
    a, b = structured.shape[:2]
    weight[:a] *= quiet
    weight[:a, :b] += structured


@torch.no_grad()
def start_transform(model: Any, audio: Tensor, gain: float = 10.0, quiet: float = 0.015) -> None:
    """Write the transform into the model; audio (B, 1, L) sets the level of every channel."""
    config = model.config
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Conv1d):
                fan_in = module.in_channels * module.kernel_size[0]
                nn.init.normal_(module.weight, std=fan_in**-0.5)
            if ".res_unit" in name and name.endswith("conv2"):
                nn.init.zeros_(module.weight)
        if name.endswith("snake1") and ".res_unit" not in name:
            module.alpha.fill_(TRUNK_ALPHA)
    first, last = model.encoder.conv1.weight, model.decoder.conv2.weight
    first[1:] *= gain
    first[0] = 0
    first[0, 0, 3] = gain
    last.mul_(quiet / gain)
    last[0, 0, 3] = 1 / gain
    signal, scale = audio, torch.full((1,), gain)
    blocks = zip(model.encoder.block, reversed(model.decoder.block), strict=True)
    for hop, (down, up) in zip(config.downsampling_ratios, blocks, strict=True):
        limit = min(down.conv1.out_channels, up.conv_t1.in_channels)
        weight = cascade_weight(hop, len(scale), limit)
        signal = F.conv1d(signal, weight, stride=hop, padding=math.ceil(hop / 2))
        level = signal.std((0, 2)).clamp(min=1e-4).rsqrt()
        level *= math.sqrt(len(level)) / (signal * level[:, None]).std((0, 2)).norm()
        forward = weight * level[:, None, None] / scale[:, None]
        backward = weight * scale[:, None] / level[:, None, None]
        fan_in = down.conv1.in_channels * 2 * hop
        scatter(down.conv1.weight, forward, quiet, fan_in)
        transposed = torch.zeros_like(up.conv_t1.weight).transpose(0, 1)
        scatter(transposed, backward.transpose(0, 1), quiet, 2 * up.conv_t1.in_channels)
        up.conv_t1.weight.copy_(transposed.transpose(0, 1))
        scale = level
    for layer in (model.encoder.conv2, model.decoder.conv1):
        width = layer.kernel_size[0]
        identity = torch.zeros(len(scale), len(scale), width)
        identity[range(len(scale)), range(len(scale)), width // 2] = 1
        scatter(layer.weight, identity, quiet, layer.in_channels * width)


def spherical_kmeans(points: Tensor, count: int, rounds: int = 20) -> Tensor:
    """Cluster points (n, D) by cosine similarity; centres (count, D) are means of the members."""
    centres = points[torch.randperm(len(points))[:count]].clone()
    for _ in range(rounds):
        nearest = (F.normalize(points) @ F.normalize(centres).t()).argmax(1)
        counts = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        empty = counts == 0
        centres[empty] = points[torch.randint(len(points), (int(empty.sum()),))]
    return centres


@torch.no_grad()
def start_codebooks(quantizer: Any, latents: Tensor) -> None:
    """PCA projections and k-means codebooks, one stage after the other, on latents (B, hidden, T).

    DAC compares directions only. One of the D dimensions is therefore constant: the direction of
    (v, constant) tells the length of v too.
    """
    residual = latents.transpose(1, 2).flatten(0, 1)
    for stage in quantizer.quantizers:
        kept = stage.codebook_dim - 1
        mean = residual.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov(residual.t()))
        basis = vectors[:, -kept:]
        projected = (residual - mean) @ basis
        unit = projected.square().sum(1).mean().sqrt() / math.sqrt(kept)
        constant = torch.full_like(projected[:, :1], CONSTANT)
        points = torch.cat((projected / unit, constant), dim=1)
        stage.in_proj.weight.zero_()
        stage.in_proj.weight[:kept, :, 0] = basis.t() / unit
        stage.in_proj.bias.copy_(torch.cat((-(mean @ basis) / unit, constant[0])))
        stage.out_proj.weight.zero_()
        stage.out_proj.weight[:, :kept, 0] = basis * unit
        stage.out_proj.bias.copy_(mean)
        stage.codebook.weight.copy_(spherical_kmeans(points, len(stage.codebook.weight)))
        chosen = stage.decode_latents(points.t()[None])[0]
        residual = residual - stage.out_proj(chosen)[0].t()
