"""SpeechT5HifiGan: log-mel spectrogram -> audio (HiFi-GAN, Kong et al. 2020, arXiv:2010.05646).

The class, its arguments and its results are those of transformers' SpeechT5HifiGan; what it adds is
keyword-only: long spectrograms in pieces.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vivace.models.audioldm.vocoder_config import SpeechT5HifiGanConfig
from vivace.models.audioldm.vocoder_layers import (
    HifiGanResidualBlock,
    inputs_of,
    run_conv,
    run_conv_transpose,
)
from vivace.models.base import PreTrainedModel
from vivace.nn.geometry import through
from vivace.nn.weight_norm import WeightNormed

# The last leaky ReLU has torch's slope, whatever the configuration says: so it was trained.
_LAST_SLOPE = 0.01


class SpeechT5HifiGan(WeightNormed, PreTrainedModel):
    """HiFi-GAN's generator.

    A new model is in training mode and has random weights that are nearly silent. Raises ValueError
    for a configuration whose lists do not go together or whose kernels are below the strides.
    """

    config_class = SpeechT5HifiGanConfig
    main_input_name = "spectrogram"

    def __init__(self, config: SpeechT5HifiGanConfig) -> None:
        super().__init__(config)
        _check(config)
        width = config.upsample_initial_channel
        self.conv_pre = nn.Conv1d(config.model_in_dim, width, 7, padding=3)
        self.upsampler = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        stages = zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
        for index, (rate, kernel) in enumerate(stages):
            channels = width // 2**index, width // 2 ** (index + 1)
            padding = (kernel - rate) // 2
            self.upsampler.append(nn.ConvTranspose1d(*channels, kernel, rate, padding))
            self.resblocks.extend(
                HifiGanResidualBlock(channels[1], size, dilations, config.leaky_relu_slope)
                for size, dilations in zip(
                    config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
                )
            )
        self.conv_post = nn.Conv1d(width // 2 ** len(config.upsample_rates), 1, 7, padding=3)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(config.model_in_dim))
        self.register_buffer("scale", torch.ones(config.model_in_dim))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, spectrogram: Tensor, *, chunk: int | None = None) -> Tensor:
        """Log-mel spectrogram (B, T frames, model_in_dim) or (T, model_in_dim) -> audio (B, N
        samples) or (N,), in -1…1, of the model's dtype.

        ``chunk``: the same samples computed ``chunk`` frames at a time (with what these depend on
        around them), so that memory does not grow with T but by the audio. Raises ValueError for
        another shape or a ``chunk`` that is no positive number, TypeError for another dtype than
        the model's.
        """
        bins = self.config.model_in_dim
        if spectrogram.ndim not in (2, 3) or spectrogram.shape[-1] != bins:
            raise ValueError(
                f"SpeechT5HifiGan: spectrogram must have shape (B, T, {bins}) or (T, {bins}), "
                f"got {tuple(spectrogram.shape)}"
            )
        if spectrogram.shape[-2] == 0:
            raise ValueError(
                "SpeechT5HifiGan: spectrogram must hold at least one frame, "
                f"got shape {tuple(spectrogram.shape)}"
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"SpeechT5HifiGan: chunk must be at least 1 frame, got {chunk}")
        x = spectrogram if spectrogram.ndim == 3 else spectrogram[None]
        if chunk is None or chunk >= x.shape[1]:
            y = self._run(x)
        else:
            y = torch.cat(list(self._pieces(x, chunk)), 1)
        return y if spectrogram.ndim == 3 else y[0]

    def _run(self, x: Tensor) -> Tensor:
        """x (B, T, model_in_dim) -> (B, N)."""
        if self.config.normalize_before:
            x = (x - self.mean) / self.scale
        slope = self.config.leaky_relu_slope
        h = run_conv(self.conv_pre, x)
        for upsampler, blocks in self._stages():
            h = run_conv_transpose(upsampler, h, slope)
            mean = blocks[0](h)
            for index, block in enumerate(blocks[1:], 2):
                # A running mean: no pass over the values for the division alone.
                mean.lerp_(block(h), 1 / index)
            h = mean
        return run_conv(self.conv_post, h, _LAST_SLOPE, tanh=True)[..., 0]

    def _stages(self) -> Iterator[tuple[nn.ConvTranspose1d, list[HifiGanResidualBlock]]]:
        """Each transposed convolution with the residual blocks whose mean follows it."""
        count = len(self.config.resblock_kernel_sizes)
        for index, upsampler in enumerate(self.upsampler):
            assert isinstance(upsampler, nn.ConvTranspose1d)
            blocks = self.resblocks[index * count : (index + 1) * count]
            yield upsampler, [b for b in blocks if isinstance(b, HifiGanResidualBlock)]

    def _pieces(self, x: Tensor, chunk: int) -> Iterator[Tensor]:
        """The samples of `_run(x)`, those of ``chunk`` frames at a time."""
        hop, time = self.config.hop_length, x.shape[1]
        length = through(self, time)
        for start in range(0, time, chunk):
            last = start + chunk >= time
            span = start * hop, length if last else (start + chunk) * hop
            first, end = self._frames_behind(span)
            first, end = max(0, first), time if last else min(end, time)
            y = self._run(x[:, first:end])
            # A copy: the samples of the surrounding frames are freed.
            yield y[:, span[0] - first * hop : span[1] - first * hop].clone()

    def _frames_behind(self, span: tuple[int, int]) -> tuple[int, int]:
        """The frames (first, end) that the samples ``span`` depend on."""
        span = inputs_of(self.conv_post, span)
        for upsampler, blocks in reversed(list(self._stages())):
            spans = [block.inputs(span) for block in blocks]
            span = min(s[0] for s in spans), max(s[1] for s in spans)
            span = inputs_of(upsampler, span)
        return inputs_of(self.conv_pre, span)


def _check(config: SpeechT5HifiGanConfig) -> None:
    rates, kernels = config.upsample_rates, config.upsample_kernel_sizes
    if len(rates) != len(kernels) or not rates:
        raise ValueError(
            "SpeechT5HifiGan: upsample_rates and upsample_kernel_sizes must have one length, at "
            f"least 1, got {rates} and {kernels}"
        )
    if any(kernel < rate for rate, kernel in zip(rates, kernels, strict=True)):
        raise ValueError(
            "SpeechT5HifiGan: upsample_kernel_sizes must not be below upsample_rates, "
            f"got {kernels} and {rates}"
        )
    sizes, dilations = config.resblock_kernel_sizes, config.resblock_dilation_sizes
    if len(sizes) != len(dilations) or not sizes or not all(dilations):
        raise ValueError(
            "SpeechT5HifiGan: resblock_kernel_sizes and resblock_dilation_sizes must have one "
            f"length, at least 1, and no list may be empty, got {sizes} and {dilations}"
        )
    if config.upsample_initial_channel < 2 ** len(rates):
        raise ValueError(
            f"SpeechT5HifiGan: upsample_initial_channel must be at least {2 ** len(rates)} for "
            f"{len(rates)} upsample_rates, got {config.upsample_initial_channel}"
        )
