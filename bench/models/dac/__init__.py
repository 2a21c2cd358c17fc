"""DAC at its released sizes: encode and decode against transformers, a streamed frame, memory."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.case import DTYPES, Case, Options, Variant
from bench.models.dac.cost import Cost, decode_cost, encode_cost
from bench.models.dac.memory import memory as memory
from bench.models.dac.peers import transformers_variants
from bench.models.dac.verify import Check, check_audio, check_codes, check_stream
from bench.models.dac.weights import CONFIGS, config_of, random_model
from vivace import DacConfig, DacModel

_DTYPES = ("float32", "bfloat16")
_DTYPES_CUDA = ("tf32", "bfloat16", "float16")
_FRAMES_STREAMED = 24  # beyond the 20 frames that a sample depends on


def cases(options: Options, note: Callable[[str], None]) -> Iterator[Case]:
    """dac_<rate>/<encode|decode>/<seconds>s/b<batch>, and /frame for one streamed frame."""
    cuda = options.device == "cuda"
    for name in CONFIGS:
        wanted = [w for w in _wanted(name, options, cuda) if options.wants(w.id)]
        if not wanted:
            continue
        config = config_of(name)
        exact = random_model(config).to(options.device)
        for dtype in options.dtypes or (_DTYPES_CUDA if cuda else _DTYPES):
            model = random_model(config).to(options.device, DTYPES[dtype])
            for what in wanted:
                if what.seconds is None:
                    yield _streamed(what, dtype, config, model)
                else:
                    yield _whole(what, dtype, config, model, exact, options, note)


class _Wanted:
    """One id taken apart. `seconds` is None for a streamed frame."""

    def __init__(self, name: str, direction: str, seconds: float | None, batch: int) -> None:
        self.direction, self.seconds, self.batch = direction, seconds, batch
        length = "frame" if seconds is None else f"{seconds:g}s"
        self.id = f"{name}/{direction}/{length}/b{batch}"


def _wanted(name: str, options: Options, cuda: bool) -> list[_Wanted]:
    seconds = options.seconds or ((0.1,) if options.quick else (1.0, 10.0) if cuda else (1.0,))
    batches = options.batches or ((1, 8, 32) if cuda and not options.quick else (1,))
    found = [_Wanted(name, d, s, b) for d in ("encode", "decode") for s in seconds for b in batches]
    return [*found, *(_Wanted(name, direction, None, 1) for direction in ("encode", "decode"))]


def _input(config: DacConfig, direction: str, batch: int, frames: int, like: Tensor) -> Tensor:
    """Seeded noise as audio (B, 1, L), or random codes (B, N, T), on the weights' device."""
    generator = torch.Generator().manual_seed(1)
    if direction == "encode":
        shape = (batch, 1, frames * config.hop_length)
        return torch.randn(shape, generator=generator).mul(0.2).to(like)
    shape = (batch, config.n_codebooks, frames)
    return torch.randint(config.codebook_size, shape, generator=generator).to(like.device)


def _cost(config: DacConfig, direction: str) -> Cost:
    return encode_cost(config) if direction == "encode" else decode_cost(config)


def _call(model: Any, direction: str) -> Callable[[Tensor], Any]:
    """The same method of vivace's model and of transformers'."""
    if direction == "encode":
        return lambda audio: model.encode(audio).audio_codes
    return lambda codes: model.decode(audio_codes=codes).audio_values


def _whole(
    what: _Wanted,
    dtype: str,
    config: DacConfig,
    model: DacModel,
    exact: DacModel,
    options: Options,
    note: Callable[[str], None],
) -> Case:
    assert what.seconds is not None
    frames = max(1, round(what.seconds * config.sampling_rate / config.hop_length))
    cost = _cost(config, what.direction)
    x = _input(config, what.direction, what.batch, frames, next(model.parameters()))
    peers = transformers_variants(model, partial(_call, direction=what.direction), options, note)
    check = Check(
        call=_call(exact, what.direction),
        eager=peers[0].call if peers else _call(model, what.direction),
        compare=check_codes if what.direction == "encode" else check_audio,
        x=x,
        dtype=dtype,
    )
    return Case(
        id=what.id,
        dtype=dtype,
        shape=[list(x.shape)],
        bytes=cost.bytes(config, what.batch, frames, DTYPES[dtype].itemsize),
        flops=what.batch * cost.flops(frames),
        args=(x,),
        variants=[Variant("vivace", _call(model, what.direction)), *peers],
        verify=check,
        audio_s=what.batch * frames * config.hop_length / config.sampling_rate,
    )


def _streamed(what: _Wanted, dtype: str, config: DacConfig, model: DacModel) -> Case:
    """A push of one frame, in the middle of a stream. transformers has nothing to compare with."""
    frames = _FRAMES_STREAMED
    x = _input(config, what.direction, 1, frames, next(model.parameters()))
    step = x.shape[-1] // frames
    new_stream: Callable[[], Any] = (
        model.streaming_encoder if what.direction == "encode" else model.streaming_decoder
    )
    stream = new_stream()
    for piece in x.split(step, -1):
        stream.push(piece)
    cost = _cost(config, what.direction)
    return Case(
        id=what.id,
        dtype=dtype,
        shape=[[*x.shape[:-1], step]],
        bytes=cost.bytes(config, 1, 1, DTYPES[dtype].itemsize),
        flops=cost.flops(1),
        args=(x[..., :step].contiguous(),),
        variants=[Variant("vivace", stream.push)],
        verify=partial(check_stream, _call(model, what.direction), new_stream, x, step),
        audio_s=config.hop_length / config.sampling_rate,
    )
