"""UNet2DConditionModel: the denoiser of AudioLDM (Liu et al. 2023, arXiv:2301.12503).

The part of diffusers' class of this name that AudioLDM's family of models uses: the condition is a
vector that joins the time embedding, there is no text to attend to.
"""

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.audioldm.diffusers_base import DiffusersModel
from vivace.models.audioldm.diffusers_outputs import UNet2DConditionOutput
from vivace.models.audioldm.functional import group_norm
from vivace.models.audioldm.unet_blocks import DownLevel, MidLevel, UpLevel
from vivace.models.audioldm.unet_config import DOWN_BLOCKS, UP_BLOCKS, UNet2DConditionConfig

logger = logging.getLogger(__name__)

_MAX_PERIOD = 10_000


class TimestepEmbedding(nn.Module):
    """Linear, SiLU, linear: (…, C) -> (…, D)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return y


class UNet2DConditionModel(DiffusersModel):
    """Predicts the noise of a latent at a time step, given a vector.

    original_heads: the heads of the original AudioLDM instead of the configuration's, which are
    not those that the weights were trained with; the configuration then says so
    (`attention_head_dim`) and is saved so.
    """

    config_class = UNet2DConditionConfig
    _init_kwargs = ("original_heads",)

    def __init__(
        self,
        config: UNet2DConditionConfig | None = None,
        *,
        original_heads: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(config, **fields)
        config = self.config
        assert isinstance(config, UNet2DConditionConfig)
        if original_heads:
            self.config = config = copy.deepcopy(config)
            config.attention_head_dim = config.original_heads()
        widths = list(config.block_out_channels)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        embed = 4 * widths[0]
        self.time_embedding = TimestepEmbedding(widths[0], embed)
        assert config.projection_class_embeddings_input_dim is not None
        self.class_embedding = nn.Linear(config.projection_class_embeddings_input_dim, embed)
        temb = 2 * embed if config.class_embeddings_concat else embed
        layers, heads = config.per_level("layers_per_block"), config.per_level("attention_head_dim")
        contexts = config.per_level("cross_attention_dim")
        groups, eps = config.norm_num_groups, config.norm_eps
        down = [DOWN_BLOCKS[name] for name in config.down_block_types]
        up = [UP_BLOCKS[name] for name in config.up_block_types]
        last = config.levels - 1

        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            before = widths[max(i - 1, 0)]
            resnets = [(before, width)] + [(width, width)] * (layers[i] - 1)
            level = DownLevel(resnets, temb, heads[i] * down[i], contexts[i], groups, eps)
            if i < last:
                level.add_downsampler(width)
            self.down_blocks.append(level)
        self.up_blocks = nn.ModuleList()
        for i in range(last, -1, -1):
            width, below = widths[i], widths[min(i + 1, last)]
            # What the way down left behind: its layers' outputs, and the one before its first.
            skips = [width] * layers[i] + [widths[max(i - 1, 0)]]
            inputs = [below] + [width] * layers[i]
            resnets = [(a + b, width) for a, b in zip(inputs, skips, strict=True)]
            attends = heads[i] * up[last - i]
            upper = UpLevel(resnets, temb, attends, contexts[i], groups, eps)
            if i > 0:
                upper.add_upsampler(width)
            self.up_blocks.append(upper)
        middle = [(widths[-1], widths[-1])] * 2
        self.mid_block = MidLevel(middle, temb, heads[-1], contexts[-1], groups, eps, 1)
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

        attending = [i for i in range(last + 1) if down[i] or up[last - i] or i == last]
        self._context_dims = {contexts[i] for i in attending}
        self._self_attends = all(contexts[i] == widths[i] for i in attending)
        self._term_widths = [block.conv1.out_channels for block in self._resnets()]
        self.post_init()

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor | None = None,
        class_labels: Tensor | None = None,
        timestep_cond: None = None,
        attention_mask: None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        added_cond_kwargs: None = None,
        down_block_additional_residuals: None = None,
        mid_block_additional_residual: None = None,
        down_intrablock_additional_residuals: None = None,
        encoder_attention_mask: None = None,
        return_dict: bool = True,
        *,
        time_terms: Tensor | None = None,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """sample (B, in_channels, H, W) -> (B, out_channels, H, W), of any size.

        timestep: a number, or a tensor (), (1,) or (B,); it need not be whole. class_labels (B, D).
        time_terms (B or 1, K): one step of `time_embeddings`, which replaces both.
        encoder_hidden_states (B, S, cross_attention_dim): what the second attentions attend to; by
        default to the sample itself, as AudioLDM's do. `cross_attention_kwargs` has no effect.
        Raises ValueError for missing class_labels, a context that does not fit, or an argument
        that is not implemented.
        """
        for name, value in (
            ("timestep_cond", timestep_cond),
            ("attention_mask", attention_mask),
            ("added_cond_kwargs", added_cond_kwargs),
            ("down_block_additional_residuals", down_block_additional_residuals),
            ("mid_block_additional_residual", mid_block_additional_residual),
            ("down_intrablock_additional_residuals", down_intrablock_additional_residuals),
            ("encoder_attention_mask", encoder_attention_mask),
        ):
            if value is not None:
                raise ValueError(f"UNet2DConditionModel: {name} is not implemented, pass None")
        if cross_attention_kwargs:
            logger.warning("cross_attention_kwargs %s are ignored.", list(cross_attention_kwargs))
        self._check_context(encoder_hidden_states)
        if time_terms is None:
            steps = torch.as_tensor(timestep, device=sample.device).reshape(-1)
            emb = self._embed(steps.expand(sample.shape[0]), class_labels, sample.dtype)
            terms = self._project(emb)
        else:
            terms = list(time_terms.split(self._term_widths, dim=-1))
        y = self._denoise(sample, terms, encoder_hidden_states)
        return UNet2DConditionOutput(sample=y) if return_dict else (y,)

    def time_embeddings(
        self, timesteps: Tensor | Sequence[float], class_labels: Tensor | None
    ) -> Tensor:
        """What all steps of a schedule add to the residual blocks: (S, B, K).

        timesteps (S,); class_labels (B, D). Row i is `time_terms` of the step i; K is the sum of
        the blocks' channels.
        """
        steps = torch.as_tensor(timesteps, device=self.device).reshape(-1, 1)
        rows = 1 if class_labels is None else class_labels.shape[0]
        emb = self._embed(steps.expand(-1, rows), class_labels, self.dtype)
        return torch.cat(self._project(emb), dim=-1)

    def _denoise(self, x: Tensor, terms: list[Tensor], context: Tensor | None) -> Tensor:
        each = iter(terms)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, more = block(x, each, context)
            skips += more
        # The blocks are listed in the order of the keys, the middle last.
        x = self.mid_block(x, each, context)
        for block in self.up_blocks:
            x = block(x, skips, each, context)
        y: Tensor = self.conv_out(group_norm(x, self.conv_norm_out, silu=True))
        return y

    def _embed(self, timesteps: Tensor, class_labels: Tensor | None, dtype: torch.dtype) -> Tensor:
        """timesteps (…, B), class_labels (B, D) -> (…, B, E)."""
        if class_labels is None:
            raise ValueError("class_labels should be provided when num_class_embeds > 0")
        time = self.time_embedding(self._sinusoids(timesteps).to(dtype))
        label = self.class_embedding(class_labels).to(dtype)
        if not self.config.class_embeddings_concat:
            return torch.add(time, label)
        return torch.cat([time, label.expand(*time.shape[:-1], -1)], dim=-1)

    def _sinusoids(self, timesteps: Tensor) -> Tensor:
        """Cosines and sines of t · 10000^(-i / (half - shift)), in float32: (…) -> (…, C)."""
        width = self.config.block_out_channels[0]
        half = width // 2
        index = torch.arange(half, dtype=torch.float32, device=timesteps.device)
        frequency = torch.exp(-math.log(_MAX_PERIOD) * index / (half - self.config.freq_shift))
        angle = timesteps[..., None].float() * frequency
        parts = [torch.sin(angle), torch.cos(angle)]
        if self.config.flip_sin_to_cos:
            parts.reverse()
        return F.pad(torch.cat(parts, dim=-1), (0, width % 2))

    def _project(self, emb: Tensor) -> list[Tensor]:
        """The embedding (…, E) as each residual block adds it, (…, C) each."""
        active = F.silu(emb)
        return [block.time_emb_proj(active) for block in self._resnets()]

    def _resnets(self) -> list[Any]:
        """The residual blocks in the order in which they run."""
        levels: list[Any] = [*self.down_blocks, self.mid_block, *self.up_blocks]
        return [block for level in levels for block in level.resnets]

    def _check_context(self, context: Tensor | None) -> None:
        dims = sorted(self._context_dims)
        if context is None and not self._self_attends:
            raise ValueError(
                "UNet2DConditionModel: encoder_hidden_states is needed, cross_attention_dim "
                f"{dims} differs from block_out_channels"
            )
        if context is not None and dims != [context.shape[-1]]:
            raise ValueError(
                f"UNet2DConditionModel: encoder_hidden_states must have {dims} channels at once "
                f"(cross_attention_dim), got shape {tuple(context.shape)}"
            )
