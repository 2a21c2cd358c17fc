"""Flows: padded batches and streams give the full pass's results, for any convolution."""

import random

import pytest
import torch
from torch import Tensor, nn

from vivace.nn.flow import FULL, Flow, Ragged, Unpadded
from vivace.nn.geometry import (
    InputError,
    check_lengths,
    convolutions,
    mask_lengths,
    output_length,
    ready_length,
    through,
)
from vivace.nn.snake1d import Snake1d
from vivace.nn.stream import Stream


class Unit(nn.Module):
    """The modules of a residual unit."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.snake1, self.snake2 = random_snake(channels), random_snake(channels)
        self.conv1 = nn.Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(channels, channels, 1)


def random_snake(channels: int) -> Snake1d:
    snake = Snake1d(channels)
    nn.init.uniform_(snake.alpha, 0.1, 3)
    return snake


class Stack(nn.Module):
    """Random convolutions and residual units, with and without a Snake in front."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.snakes = nn.ModuleList()
        channels = 2
        for _ in range(chance.randint(1, 4)):
            width, stride = chance.randint(1, 3), chance.randint(1, 5)
            kind = chance.choice(["conv", "transpose", "unit"])
            if kind == "conv":
                kernel, dilation = chance.randint(1, 6), chance.randint(1, 3)
                padding = chance.randint(0, dilation * (kernel - 1) // 2)
                layer = nn.Conv1d(channels, width, kernel, stride, padding, dilation)
            elif kind == "transpose":
                padding = chance.randint(0, (stride + 1) // 2)
                layer = nn.ConvTranspose1d(channels, width, 2 * stride, stride, padding)
            else:
                width, layer = channels, Unit(channels, chance.randint(1, 4))
            self.layers.append(layer)
            self.snakes.append(random_snake(channels) if chance.random() < 0.5 else nn.Identity())
            channels = width

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        x = x.transpose(1, 2)
        for layer, identity_or_snake in zip(self.layers, self.snakes, strict=True):
            snake = identity_or_snake if isinstance(identity_or_snake, Snake1d) else None
            if isinstance(layer, Unit):
                x = flow.unit(layer, x)
            elif isinstance(layer, nn.ConvTranspose1d):
                x = flow.conv_transpose(layer, x, snake)
            else:
                x = flow.conv(layer, x, snake)
        return x.transpose(1, 2)

    def plain(self, x: Tensor) -> Tensor:
        """The same by torch's modules."""
        for layer, snake in zip(self.layers, self.snakes, strict=True):
            if isinstance(layer, Unit):
                x = x + layer.conv2(layer.snake2(layer.conv1(layer.snake1(x))))
            else:
                x = layer(snake(x))
        return x


def stacks(count: int, seed: int) -> list[Stack]:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    return [Stack(chance).double().requires_grad_(False) for _ in range(count)]


def clip(length: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 2, length, dtype=torch.float64)


def full(stack: Stack, x: Tensor) -> Tensor:
    """The full pass; nothing where torch refuses the length."""
    return stack(x) if through(stack, x.shape[-1]) else x.new_zeros((len(x), 1, 0))


def test_output_length_is_torchs() -> None:
    for stack in stacks(20, seed=1):
        for module in convolutions(stack):
            for length in (1, 2, 3, 7, 12, 29):
                x = torch.randn(1, module.in_channels, length, dtype=torch.float64)
                try:
                    found = module(x).shape[-1]
                except RuntimeError:
                    found = 0
                assert output_length(module, length) == found, (module, length)
            assert output_length(module, 0) == 0


def test_full_is_what_the_modules_give() -> None:
    for stack in stacks(20, seed=7):
        if through(stack, 30):
            x = clip(30, batch=2)
            torch.testing.assert_close(stack(x), stack.plain(x), rtol=1e-12, atol=1e-12)


def test_ragged_rows_equal_their_solo_runs() -> None:
    for stack in stacks(40, seed=2):
        if not through(stack, 30):
            continue
        lengths = [29, 0, 17, 3, 30]
        x = clip(30, batch=5)
        for row, length in enumerate(lengths):
            x[row, :, length:] = float("nan")
        flow = Ragged(lengths)
        y = flow.run(stack, x)
        assert flow.lengths == [through(stack, length) for length in lengths]
        for row, length in enumerate(lengths):
            end = flow.lengths[row]
            if end:
                solo = stack(x[row : row + 1, :, :length])[0]
                torch.testing.assert_close(y[row, :, :end], solo, rtol=1e-12, atol=1e-12)
            assert not y[row, :, end:].any()


@pytest.mark.parametrize("seed", range(3))
def test_stream_equals_the_full_pass(seed: int) -> None:
    chance = random.Random(seed)
    for stack in stacks(12, seed=3 + seed):
        for length in (1, 2, 9, 40):
            x = clip(length, batch=2)
            stream, pieces, start = Stream(), [], 0
            while start < length:
                size = chance.choice([0, 1, 1, 2, 7])
                pieces.append(stream.run(stack, x[..., start : start + size]))
                start = min(start + size, length)
                ready = sum(p.shape[-1] for p in pieces)
                assert ready == through(stack, start, ready_length)
            pieces.append(stream.run(stack, x[..., length:], flush=True))
            y, whole = torch.cat(pieces, dim=-1), full(stack, x)
            assert y.shape[-1] == whole.shape[-1], (stack, length)
            if whole.shape[-1]:
                torch.testing.assert_close(y, whole, rtol=1e-12, atol=1e-12)


def test_one_run_with_flush_is_the_full_pass() -> None:
    for stack in stacks(20, seed=9):
        x = clip(25)
        y, whole = Stream().run(stack, x, flush=True), full(stack, x)
        assert y.shape[-1] == whole.shape[-1]
        if whole.shape[-1]:
            torch.testing.assert_close(y, whole, rtol=1e-12, atol=1e-12)


def test_stream_state_stays_constant_and_is_not_the_input() -> None:
    (stack,) = stacks(1, seed=5)
    stream, sizes = Stream(), set()
    x = clip(600)
    for start in range(0, 600, 60):
        piece = x[..., start : start + 60].clone()
        stream.run(stack, piece)
        piece.fill_(float("nan"))
        if start >= 120:
            sizes.add(stream.state_bytes)
    assert len(sizes) == 1
    assert torch.isfinite(stream.run(stack, clip(60), flush=True)).all()


def test_a_stream_without_input_gives_nothing() -> None:
    conv = nn.Conv1d(1, 1, 2, padding=1)  # padding alone would make an output
    assert Stream().run(_One(conv), torch.zeros(1, 1, 0), flush=True).shape == (1, 1, 0)


def test_flows_refuse_what_they_cannot_do() -> None:
    x = torch.zeros(1, 1, 5)
    with pytest.raises(ValueError, match="kernel_size must be 2 · stride"):
        Stream().run(_One(nn.ConvTranspose1d(1, 1, 5, 2)), x)
    with pytest.raises(ValueError, match="padding must be a number"):
        Stream().run(_One(nn.Conv1d(1, 1, 3, padding="same")), x)
    with pytest.raises(ValueError, match="groups must be 1"):
        FULL.run(_One(nn.Conv1d(2, 2, 3, groups=2)), torch.zeros(1, 2, 5))


def test_unpadded_crops_the_skip() -> None:
    unit = Unit(2, 2).double().requires_grad_(False)
    x = clip(30)
    y = Unpadded().unit(unit, x.transpose(1, 2)).transpose(1, 2)
    whole = FULL.unit(unit, x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(y, whole[..., 6:-6], rtol=1e-12, atol=1e-12)


class _One(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, flow: Flow = FULL) -> Tensor:
        transposed = isinstance(self.module, nn.ConvTranspose1d)
        call = flow.conv_transpose if transposed else flow.conv
        return call(self.module, x.transpose(1, 2)).transpose(1, 2)


def test_mask_lengths() -> None:
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert mask_lengths(mask, 3, 3, "f") == [2, 0, 3]
    assert mask_lengths(mask.bool(), 3, 3, "f") == [2, 0, 3]


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[0, 1, 1]]),
        torch.tensor([[1, 0, 1]]),
        torch.tensor([[2, 1, 0]]),
        torch.tensor([[-1, 0, 0]]),
        torch.ones(1, 3),
        torch.ones(1, 4, dtype=torch.bool),
        torch.ones(2, 3, dtype=torch.bool),
        torch.ones(3, dtype=torch.bool),
    ],
)
def test_bad_masks(mask: Tensor) -> None:
    with pytest.raises(ValueError, match="f: padding_mask must"):
        mask_lengths(mask, 1, 3, "f")


def test_check_lengths() -> None:
    assert check_lengths(torch.tensor([0, 3]), 2, 3, "f") == [0, 3]
    assert check_lengths([1, 2], 2, 3, "f") == [1, 2]
    for bad in ([1], [1, 4], [-1, 2], [1.0, 2.0], torch.ones(2), torch.ones(2, 1).long(), 3):
        with pytest.raises(ValueError, match="f: lengths must be 2 integers"):
            check_lengths(bad, 2, 3, "f")  # type: ignore[arg-type]


def test_input_error_is_what_transformers_raises() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, RuntimeError)
