"""AudioLDM (s), a clip of five seconds: text, a guided UNet step, VAE, vocoder, ten steps whole.

Against diffusers and transformers, eager. `vivace.channels_last` has the UNet and the VAE in that
memory format, which is their better one in bfloat16.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.case import DTYPES, Case, Options, Variant, precision
from bench.models.audioldm.weights import ours, theirs

_DTYPES = ("float32", "bfloat16")
_PROMPT = [0, 250, 23613, 3022, 10, 11136, 4084, 2]  # eight tokens
_EMPTY = [0, 2]
_FRAMES = 500
# FLOPs of five seconds, two per multiply-add, and the values of the weights in use.
_COST = {
    "text": (2.4e9, 86.7e6),
    "unet_step": (96.3e9, 185.0e6),
    "vae": (318.8e9, 33.0e6),
    "vocoder": (501.6e9, 55.3e6),
}
_PART = {"text": "text_encoder", "unet_step": "unet", "vae": "vae", "vocoder": "vocoder"}
Call = Callable[[], Tensor]


def cases(options: Options, note: Callable[[str], None]) -> Iterator[Case]:
    """audioldm_s/<text|unet_step|vae|vocoder>, /whole."""
    wanted = [name for name in (*_COST, "whole") if options.wants(f"audioldm_s/{name}")]
    for dtype in options.dtypes or _DTYPES:
        for name in wanted:
            if name == "whole":
                yield _whole(dtype, options, note)
            else:
                yield _part(name, dtype, options, note)


def _calls(name: str, model: Any, their: bool) -> Call:
    """The part's call; theirs as diffusers' pipeline makes it."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(model.device, model.dtype)

    if name == "text":
        # The pipeline of diffusers pads to 512 tokens, and encodes the empty text anew.
        texts = [_PROMPT, _EMPTY] if their else [_PROMPT]
        width = 512 if their else len(_PROMPT)
        padded = [text + [1] * (width - len(text)) for text in texts]
        ids = [torch.tensor([text], device=model.device) for text in padded]
        masks = [(i != 1).long() for i in ids]

        def encode() -> Tensor:
            vectors = [
                model(i, attention_mask=m).text_embeds for i, m in zip(ids, masks, strict=True)
            ]
            first: Tensor = vectors[0]
            return first

        return encode
    if name == "unet_step":
        x, labels = normal(2, 8, _FRAMES // 4, 16), normal(2, 512)
        if their:
            return lambda: model(x, 501, encoder_hidden_states=None, class_labels=labels).sample
        # Half of the kernels read the memory format from their input.
        if model.conv_in.weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        terms = model.time_embeddings([501], labels)[0]
        return lambda: model(x, 501, time_terms=terms).sample
    if name == "vae":
        z = normal(1, 8, _FRAMES // 4, 16)
        return lambda: model.decode(z).sample
    mel = normal(1, _FRAMES, 64)
    return lambda: model(mel)


def _part(name: str, dtype: str, options: Options, note: Callable[[str], None]) -> Case:
    model = ours(_PART[name]).to(options.device)
    exact = _without_grad(_calls(name, model, their=False))
    with precision("float32"):
        truth = exact().float()
    model = model.to(DTYPES[dtype])
    variants = [Variant("vivace", _without_grad(_calls(name, model, their=False)))]
    if name in ("unet_step", "vae"):
        import copy

        last = copy.deepcopy(model).to(memory_format=torch.channels_last)
        call = _without_grad(_calls(name, last, their=False))
        variants.append(Variant("vivace.channels_last", call))
    try:
        peer = theirs(_PART[name], model)
        variants.append(
            Variant("diffusers", _without_grad(_calls(name, peer, their=True)), peer=True)
        )
    except ImportError as error:
        note(f"diffusers: {error}")
    flops, weights = _COST[name]
    return Case(
        id=f"audioldm_s/{name}",
        dtype=dtype,
        shape=[list(truth.shape)],
        bytes=int(weights * DTYPES[dtype].itemsize),
        flops=int(flops),
        args=(),
        variants=variants,
        verify=partial(_verify, truth, dtype),
        audio_s=5.0 if name == "vocoder" else None,
    )


def _without_grad(call: Call) -> Call:
    def run() -> Tensor:
        with torch.no_grad():
            return call()

    return run


def _verify(truth: Tensor, dtype: str, variant: Variant) -> dict[str, float]:
    y = variant.call().float()
    assert y.shape == truth.shape, f"expected {tuple(truth.shape)}, got {tuple(y.shape)}"
    relative = float((y - truth).norm() / truth.norm())
    limit = 1e-4 if dtype == "float32" else 0.1
    assert relative <= limit, f"{variant.name}: error {relative:.3g}, allowed {limit:.3g}"
    return {"rel_l2": relative}


def _whole(dtype: str, options: Options, note: Callable[[str], None]) -> Case:
    """Ten guided steps of DDIM to five seconds of audio, the text's vector and its tokens apart."""
    from vivace import AudioLDMPipeline, schedulers

    settings: dict[str, Any] = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    parts = {name: ours(name).to(options.device, DTYPES[dtype]) for name in _PART.values()}
    pipe = AudioLDMPipeline(
        **parts,
        tokenizer=_Tokens(),  # type: ignore[arg-type]
        scheduler=schedulers.DDIMScheduler(**settings),
    )
    pipe.set_progress_bar_config(disable=True)
    variants = [Variant("vivace", partial(_sound, pipe))]
    try:
        import diffusers

        peers = {name: theirs(name, part) for name, part in parts.items()}
        peer = diffusers.AudioLDMPipeline(
            **peers, tokenizer=None, scheduler=diffusers.DDIMScheduler(**settings)
        )
        peer.tokenizer = _Tokens()
        peer.set_progress_bar_config(disable=True)
        variants.append(Variant("diffusers", partial(_sound, peer), peer=True))
    except ImportError as error:
        note(f"diffusers: {error}")
    flops = 10 * _COST["unet_step"][0] + sum(_COST[k][0] for k in ("text", "vae", "vocoder"))
    weights = 10 * _COST["unet_step"][1] + sum(_COST[k][1] for k in ("text", "vae", "vocoder"))
    return Case(
        id="audioldm_s/whole",
        dtype=dtype,
        shape=[[1, 80000]],
        bytes=int(weights * DTYPES[dtype].itemsize),
        flops=int(flops),
        args=(),
        variants=variants,
        verify=_finite,
        audio_s=5.0,
    )


def _sound(pipe: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    audio = pipe("a hammer", audio_length_in_s=5.0, generator=generator, output_type="pt").audios
    return audio  # type: ignore[no-any-return]


def _finite(variant: Variant) -> dict[str, float]:
    """Random weights make noise whose samples depend on every rounding: the parts are compared."""
    y = variant.call()
    assert y.shape == (1, 80000)
    assert y.isfinite().all()
    return {"rms": float(y.square().mean().sqrt())}


class _Tokens:
    """What the pipelines ask of a tokenizer, for one prompt of eight tokens and the empty one."""

    model_max_length = 512

    def __call__(self, texts: Any, padding: Any = False, max_length: int = 512, **_: Any) -> Any:
        from vivace.models.batch_feature import BatchFeature

        texts = [texts] if isinstance(texts, str) else texts
        rows = [_PROMPT if text else _EMPTY for text in texts]
        width = max_length if padding == "max_length" else max(len(row) for row in rows)
        ids = torch.tensor([row + [1] * (width - len(row)) for row in rows])
        return BatchFeature({"input_ids": ids, "attention_mask": (ids != 1).long()})

    def batch_decode(self, ids: Any) -> list[str]:
        return [""] * len(ids)
