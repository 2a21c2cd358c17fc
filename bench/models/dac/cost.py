"""What DAC costs at least, from its configuration: multiply-adds and weights, layer by layer."""

from collections.abc import Iterator
from dataclasses import dataclass

from vivace import DacConfig


@dataclass(frozen=True)
class Layer:
    """A convolution, and the Snake before it (alphas). `positions`: per frame, those where all
    taps meet: of the output, or of the input where it is transposed.
    """

    inputs: int
    outputs: int
    kernel: int
    positions: int
    alphas: int = 0

    @property
    def macs(self) -> int:
        return self.inputs * self.outputs * self.kernel * self.positions

    @property
    def params(self) -> int:
        return (self.inputs * self.kernel + 1) * self.outputs + self.alphas


def _units(channels: int, positions: int) -> Iterator[Layer]:
    for _ in range(3):
        yield Layer(channels, channels, 7, positions, channels)
        yield Layer(channels, channels, 1, positions, channels)


def encoder_layers(config: DacConfig) -> Iterator[Layer]:
    channels, positions = config.encoder_hidden_size, config.hop_length
    yield Layer(1, channels, 7, positions)
    for stride in config.downsampling_ratios:
        yield from _units(channels, positions)
        positions //= stride
        yield Layer(channels, 2 * channels, 2 * stride, positions, channels)
        channels *= 2
    yield Layer(channels, config.hidden_size, 3, positions, channels)


def decoder_layers(config: DacConfig) -> Iterator[Layer]:
    channels, positions = config.decoder_hidden_size, 1
    yield Layer(config.hidden_size, channels, 7, positions)
    for stride in config.upsampling_ratios:
        yield Layer(channels, channels // 2, 2 * stride, positions, channels)
        channels, positions = channels // 2, positions * stride
        yield from _units(channels, positions)
    yield Layer(channels, 1, 7, positions, channels)


@dataclass(frozen=True)
class Cost:
    """MACs per frame and weights of one direction, with the quantizer's share apart."""

    macs: int
    params: int
    quantizer_macs: int
    quantizer_params: int

    def flops(self, frames: int) -> int:
        return 2 * (self.macs + self.quantizer_macs) * frames

    def bytes(self, config: DacConfig, batch: int, frames: int, itemsize: int) -> int:
        """Weights once, audio once, codes (int64) once: all else can stay on the chip."""
        weights = (self.params + self.quantizer_params) * itemsize
        audio = batch * frames * config.hop_length * itemsize
        return weights + audio + batch * frames * config.n_codebooks * 8


def encode_cost(config: DacConfig) -> Cost:
    """Encoder, projections in and out of each codebook, and the search."""
    layers = list(encoder_layers(config))
    project = 2 * config.hidden_size * config.codebook_dim
    table = config.codebook_size * config.codebook_dim
    biases = config.hidden_size + config.codebook_dim
    return Cost(
        sum(layer.macs for layer in layers),
        sum(layer.params for layer in layers),
        config.n_codebooks * (project + table),
        config.n_codebooks * (project + table + biases),
    )


def decode_cost(config: DacConfig) -> Cost:
    """Decoder; codes become latents by a sum of rows, whose projection out is read once."""
    layers = list(decoder_layers(config))
    return Cost(
        sum(layer.macs for layer in layers),
        sum(layer.params for layer in layers),
        0,
        config.n_codebooks * (config.codebook_dim + 1) * config.hidden_size,
    )
