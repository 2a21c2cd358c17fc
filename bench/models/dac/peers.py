"""transformers' DacModel with the weights of a vivace model, eager and compiled."""

import logging
from collections.abc import Callable
from typing import Any

import torch

from bench.case import Options, Variant
from vivace import DacModel

_MODES = ("default", "reduce-overhead", "max-autotune")


def transformers_variants(
    model: DacModel,
    call_of: Callable[[Any], Callable[..., Any]],
    options: Options,
    note: Callable[[str], None],
) -> list[Variant]:
    """`call_of(peer)` eager, and compiled in the modes of the device; [] without transformers."""
    try:
        peer = transformers_model(model)
    except ImportError as error:
        note(f"transformers: {error}")
        return []
    eager = call_of(peer)
    variants = [Variant("transformers", eager, peer=True)]
    modes = options.compile
    if modes is None:
        modes = _MODES if options.device == "cuda" and not options.quick else _MODES[:1]
    logging.getLogger("torch._inductor").setLevel(logging.ERROR)
    for mode in modes:
        # A function of its own for each mode, or the later modes would find compiled code.
        compiled = torch.compile(call_of(peer), mode=mode, dynamic=False)
        suffix = "" if mode == "default" else f".{mode}"
        call = _new_step(compiled) if mode == "reduce-overhead" else compiled
        variants.append(Variant(f"transformers.compile{suffix}", call, peer=True, compiles=True))
    return variants


def transformers_model(model: DacModel) -> Any:
    """transformers' model; both hold the same tensors, so memory and caches are loaded alike."""
    import transformers

    with torch.device("meta"):
        peer = transformers.DacModel(transformers.DacConfig(**_fields(model)))
    peer.load_state_dict(model.state_dict(), assign=True)
    return peer.eval()


def _fields(model: DacModel) -> dict[str, Any]:
    names = (
        "encoder_hidden_size",
        "downsampling_ratios",
        "decoder_hidden_size",
        "n_codebooks",
        "codebook_size",
        "codebook_dim",
        "sampling_rate",
    )
    return {name: getattr(model.config, name) for name in names}


def _new_step(call: Callable[..., Any]) -> Callable[..., Any]:
    """Graph trees want to be told that the outputs of the last call may be overwritten."""

    def step(*args: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return call(*args)

    return step
