"""What the UNet and the VAE return: diffusers' three output classes."""

from dataclasses import dataclass

from torch import Tensor

from vivace.models.audioldm.vae_distribution import DiagonalGaussianDistribution
from vivace.models.outputs import ModelOutput


class TraceableOutput(ModelOutput):
    """An output without deferred fields, with the plain lookup that torch.compile can trace."""

    __getattribute__ = object.__getattribute__


@dataclass
class UNet2DConditionOutput(TraceableOutput):
    """Result of the UNet: sample (B, out_channels, H, W)."""

    sample: Tensor | None = None


@dataclass
class AutoencoderKLOutput(TraceableOutput):
    """Result of `AutoencoderKL.encode`: latent_dist, the distribution of the latents."""

    latent_dist: DiagonalGaussianDistribution | None = None


@dataclass
class DecoderOutput(TraceableOutput):
    """Result of `AutoencoderKL.decode`: sample (B, out_channels, H, W)."""

    sample: Tensor | None = None
    commit_loss: Tensor | None = None
