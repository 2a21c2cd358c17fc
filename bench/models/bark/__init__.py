"""Bark at its released sizes, stage by stage: a token, a prefill, a fine pass, the codec.

Against transformers, eager: its cache grows with every token, which torch.compile meets with a new
compilation.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.case import DTYPES, Case, Options, Variant, precision
from bench.models.bark.cost import codec_cost, pass_cost, token_cost
from bench.models.bark.peers import TheirCodec, TheirFine, TheirPrefill, TheirToken
from bench.models.bark.weights import SIZES, codec, part
from bench.models.bark.whole import whole
from vivace.models.bark.gpt import BarkCausalModel
from vivace.ops.sample import sample

_DTYPES = ("float32", "bfloat16")
_CONTEXT = {"semantic": 257, "coarse": 600}
_HEAD = {"semantic": (0, 10_001), "coarse": (10_000, 1024)}
_FRAMES = 750  # ten seconds
Call = Callable[[], Tensor]


def cases(options: Options, note: Callable[[str], None]) -> Iterator[Case]:
    """bark_<size>/<stage>_token, /<stage>_prefill, /fine_pass, /whole; bark/codec."""
    for dtype in options.dtypes or _DTYPES:
        if options.wants("bark/codec/10s"):
            yield _codec(dtype, options, note)
        for size in SIZES:
            for stage in ("semantic", "coarse"):
                ids = [f"{size}/{stage}_{what}" for what in ("token", "prefill")]
                wanted = [id for id in ids if options.wants(id)]
                if wanted:
                    model = part(size, stage, DTYPES[dtype], options.device)
                    for id in wanted:
                        make = _token if id.endswith("token") else _prefill
                        yield make(id, stage, model, dtype, note)
            if options.wants(f"{size}/fine_pass"):
                yield _fine(size, dtype, options, note)
            if options.wants(f"{size}/whole") and not options.quick:
                yield whole(size, dtype, options, note)


class _Token:
    """A token after the first `context` ones, chosen with top-k: our decode step and the draw."""

    def __init__(self, model: BarkCausalModel, stage: str) -> None:
        self.model, self.head = model, _HEAD[stage]
        self.context = _CONTEXT[stage]
        self.cache = model.new_cache(1)
        generator = torch.Generator().manual_seed(1)
        for x in (self.cache.keys, self.cache.values):
            x.copy_(torch.randn(x.shape, generator=generator))
        self.weights = model.decode_weights()
        self.ids = torch.tensor([77], device=model.device)
        self.noise = torch.empty(1, self.head[1], device=model.device).exponential_()

    def __call__(self) -> Tensor:
        """The logits that the token was drawn from."""
        self.cache.set_lengths([self.context])
        with torch.no_grad():
            logits = self.model.decode(self.weights, self.ids, self.cache, *self.head, self.context)
            sample(logits, self.noise, 0.7, 50)
        return logits


def _token(
    id: str, stage: str, model: BarkCausalModel, dtype: str, note: Callable[[str], None]
) -> Case:
    ours = _Token(model, stage)
    variants = [Variant("vivace", ours), *_peer(lambda: TheirToken(model, stage, ours), note)]
    if dtype != "float32" and model.device.type == "cpu":
        variants.append(Variant("vivace.int8", _rounded(model, stage)))
    item = DTYPES[dtype].itemsize
    nbytes, flops = token_cost(model.config, ours.context, ours.head[1], item, item)
    return Case(
        id=id,
        dtype=dtype,
        shape=[[1, ours.context]],
        bytes=nbytes,
        flops=flops,
        args=(),
        variants=variants,
        verify=partial(_verify, _exact(ours), dtype),
    )


def _rounded(model: BarkCausalModel, stage: str) -> _Token:
    import copy

    rounded = copy.deepcopy(model)
    rounded.quantize()
    return _Token(rounded, stage)


def _exact(ours: Any) -> Call:
    """The same call on torch in float32, with the same weights."""

    def run() -> Tensor:
        import copy

        exact = copy.copy(ours)
        exact.model = copy.deepcopy(ours.model).float()
        if isinstance(ours, _Token):
            exact.weights = exact.model.decode_weights()
            exact.cache = copy.deepcopy(ours.cache)
            exact.cache.keys = ours.cache.keys.float()
            exact.cache.values = ours.cache.values.float()
        from vivace import backend

        with backend("torch"), precision("float32"):
            return exact()  # type: ignore[no-any-return]

    return run


def _verify(truth: Call, dtype: str, variant: Variant) -> dict[str, float]:
    """Errors against float32; one in eight bits is compared with its own rounded weights."""
    if variant.name.endswith("int8"):
        truth = _exact(variant.call)
    expected = truth().double()
    y = variant.call().double()
    assert y.shape == expected.shape, f"expected {tuple(expected.shape)}, got {tuple(y.shape)}"
    relative = float((y - expected).norm() / expected.norm())
    limit = 1e-4 if dtype == "float32" else 5e-2
    assert relative <= limit, f"{variant.name}: error {relative:.3g}, allowed {limit:.3g}"
    return {"rel_l2": relative}


def _peer(make: Callable[[], Call], note: Callable[[str], None]) -> list[Variant]:
    try:
        return [Variant("transformers", make(), peer=True)]
    except ImportError as error:
        note(f"transformers: {error}")
        return []


class _Prefill:
    """The prompt of a window: 257 positions, or 887 of the coarse stage."""

    def __init__(self, model: BarkCausalModel, stage: str) -> None:
        self.model, self.head = model, _HEAD[stage]
        self.tokens = 257 if stage == "semantic" else 887
        generator = torch.Generator().manual_seed(1)
        self.ids = torch.randint(10_000, (1, self.tokens), generator=generator).to(model.device)
        self.cache = model.new_cache(1)

    def __call__(self) -> Tensor:
        with torch.no_grad():
            embeds = self.model.input_embeds_layer(self.ids)
            cache = self.cache
            if cache.keys.dtype != self.model.dtype:
                cache = self.model.new_cache(1)
            return self.model.prefill(embeds, cache, [self.tokens], *self.head)


def _prefill(
    id: str, stage: str, model: BarkCausalModel, dtype: str, note: Callable[[str], None]
) -> Case:
    ours = _Prefill(model, stage)
    nbytes, flops = pass_cost(
        model.config, ours.tokens, ours.head[1], DTYPES[dtype].itemsize, causal=True
    )
    return Case(
        id=id,
        dtype=dtype,
        shape=[[1, ours.tokens]],
        bytes=nbytes,
        flops=flops,
        args=(),
        variants=[Variant("vivace", ours), *_peer(lambda: TheirPrefill(model, stage, ours), note)],
        verify=partial(_verify, _exact(ours), dtype),
    )


class _Fine:
    """One codebook of one window of 1024 frames, all of them filled."""

    def __init__(self, model: Any) -> None:
        self.model = model
        generator = torch.Generator().manual_seed(1)
        self.codes = torch.randint(1024, (1, 1024, 8), generator=generator).to(model.device)

    def __call__(self) -> Tensor:
        with torch.no_grad():
            hidden = self.model._hidden(self.model._embedded(5, self.codes))
            rows = self.model.lm_heads[4].weight[:1024]
            return torch.nn.functional.linear(hidden, rows).float()


def _fine(size: str, dtype: str, options: Options, note: Callable[[str], None]) -> Case:
    model = part(size, "fine", DTYPES[dtype], options.device)
    ours = _Fine(model)
    nbytes, flops = pass_cost(model.config, 1024, 1024 * 1024, DTYPES[dtype].itemsize, causal=False)
    return Case(
        id=f"{size}/fine_pass",
        dtype=dtype,
        shape=[[1, 1024, 8]],
        bytes=nbytes,
        flops=flops,
        args=(),
        variants=[Variant("vivace", ours), *_peer(lambda: TheirFine(ours), note)],
        verify=partial(_verify, _exact(ours), dtype),
    )


class _Codec:
    """Ten seconds of eight codebooks to audio."""

    def __init__(self, model: Any) -> None:
        self.model = model
        generator = torch.Generator().manual_seed(1)
        self.codes = torch.randint(1024, (1, 8, _FRAMES), generator=generator).to(model.device)

    def __call__(self) -> Tensor:
        with torch.no_grad():
            return self.model.decode(self.codes[None], return_dict=False)[0]  # type: ignore[no-any-return]


def _codec(dtype: str, options: Options, note: Callable[[str], None]) -> Case:
    model = codec(DTYPES[dtype], options.device)
    ours = _Codec(model)
    nbytes, flops = codec_cost(_FRAMES, DTYPES[dtype].itemsize)
    return Case(
        id="bark/codec/10s",
        dtype=dtype,
        shape=[[1, 8, _FRAMES]],
        bytes=nbytes,
        flops=flops,
        args=(),
        variants=[Variant("vivace", ours), *_peer(lambda: TheirCodec(ours), note)],
        verify=partial(_verify, _exact(ours), dtype),
        audio_s=_FRAMES / 75,
    )
