"""AutoencoderKL: log-mel spectrograms to latents and back (Rombach et al. 2022, arXiv:2112.10752).

The part of diffusers' class of this name that AudioLDM's family of models uses.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vivace.models.audioldm.diffusers_base import DiffusersModel
from vivace.models.audioldm.diffusers_outputs import AutoencoderKLOutput, DecoderOutput
from vivace.models.audioldm.vae_config import AutoencoderKLConfig
from vivace.models.audioldm.vae_distribution import DiagonalGaussianDistribution
from vivace.models.audioldm.vae_layers import Decoder, Encoder

_ATTENTION_KEY = re.compile(
    r"(?P<stem>.*mid_block\.attentions\.\d+)\."
    r"(?P<layer>query|key|value|proj_attn|to_q|to_k|to_v|to_out\.0)\.(?P<leaf>weight|bias)"
)
# The names until diffusers 0.16, which the released checkpoints have.
_NEW_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class AutoencoderKL(DiffusersModel):
    """The VAE. `use_slicing`: batches are computed row by row, in the memory of one."""

    config_class = AutoencoderKLConfig

    def __init__(self, config: AutoencoderKLConfig | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        config = self.config
        assert isinstance(config, AutoencoderKLConfig)
        latent, widths = config.latent_channels, list(config.block_out_channels)
        layers, groups = config.layers_per_block, config.norm_num_groups
        self.encoder = Encoder(config.in_channels, 2 * latent, widths, layers, groups)
        self.decoder = Decoder(latent, config.out_channels, widths, layers, groups)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)
        self.use_slicing = False
        self.post_init()

    def encode(
        self, x: Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """x (B, in_channels, H, W) -> the distribution of (B, latent_channels, H / 2^n, W / 2^n).

        Each of the n halvings rounds down. The latents are not scaled.
        """
        latents = DiagonalGaussianDistribution(self._by_row(self._encode, x))
        return AutoencoderKLOutput(latent_dist=latents) if return_dict else (latents,)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """z (B, latent_channels, H, W) -> (B, out_channels, H · 2^n, W · 2^n).

        z is not scaled: divide what the UNet made by `config.scaling_factor`. `generator` has no
        effect.
        """
        sample = self._by_row(self._decode, z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(
        self,
        sample: Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> DecoderOutput | tuple[Tensor]:
        """Encodes and decodes (B, in_channels, H, W); the latents are the mode, or a draw."""
        latents = DiagonalGaussianDistribution(self._by_row(self._encode, sample))
        z = latents.sample(generator) if sample_posterior else latents.mode()
        return self.decode(z, return_dict)

    def enable_slicing(self) -> None:
        """Computes batches row by row from now on."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        """Computes batches at once again."""
        self.use_slicing = False

    def _encode(self, x: Tensor) -> Tensor:
        y: Tensor = self.quant_conv(self.encoder(x))
        return y

    def _decode(self, z: Tensor) -> Tensor:
        y: Tensor = self.decoder(self.post_quant_conv(z))
        return y

    def _by_row(self, compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.use_slicing and x.shape[0] > 1:
            return torch.cat([compute(row) for row in x.split(1)])
        return compute(x)

    @staticmethod
    def _as_loaded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Old names and 1 × 1 convolutions of the attention as the linear layers of today."""
        result = {}
        for key, value in state.items():
            found = _ATTENTION_KEY.fullmatch(key)
            if found:
                layer = _NEW_NAMES.get(found["layer"], found["layer"])
                key = f"{found['stem']}.{layer}.{found['leaf']}"
                if value.ndim == 4 and value.shape[2:] == (1, 1):
                    value = value.flatten(1)
            result[key] = value
        return result
