"""A whole utterance: two seconds of speech from text ids, all four stages."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.case import DTYPES, Case, Options, Variant
from bench.models.bark.cost import codec_cost, pass_cost, token_cost
from bench.models.bark.weights import SIZES, codec, part
from vivace import BarkConfig, BarkModel

_TOKENS = 100  # semantic tokens: 2.004 s
_COARSE = 300
_SAMPLING = {"do_sample": True, "temperature": 0.7, "fine_temperature": 0.5}


def whole(size: str, dtype: str, options: Options, note: Callable[[str], None]) -> Case:
    """bark_<size>/whole: vivace, vivace with 8-bit weights, and transformers."""
    model = _model(size, dtype, options.device)
    variants = [Variant("vivace", partial(_speak, model))]
    if dtype != "float32":
        variants.append(
            Variant("vivace.int8", partial(_speak, _model(size, dtype, options.device).quantize()))
        )
    try:
        variants.append(Variant("transformers", partial(_speak, _theirs(model)), peer=True))
    except ImportError as error:
        note(f"transformers: {error}")
    nbytes, flops = _cost(model, DTYPES[dtype].itemsize)
    return Case(
        id=f"{size}/whole",
        dtype=dtype,
        shape=[[1, 256]],
        bytes=nbytes,
        flops=flops,
        args=(),
        variants=variants,
        verify=_check,
        audio_s=320 * 150 / 24000,
    )


def _model(size: str, dtype: str, device: str) -> BarkModel:
    sizes = {"num_layers": 1, "num_heads": 1, "hidden_size": 16}  # replaced below
    names = ("semantic_config", "coarse_acoustics_config", "fine_acoustics_config")
    model = BarkModel(BarkConfig(**{name: sizes for name in names}))
    kind = DTYPES[dtype]
    for name, stage in (("semantic", "semantic"), ("coarse_acoustics", "coarse")):
        setattr(model, name, part(size, stage, kind, device))
    model.fine_acoustics = part(size, "fine", kind, device)
    model.codec_model = codec(kind, device)
    for name, stage in zip(names, ("semantic", "coarse_acoustics", "fine_acoustics"), strict=True):
        setattr(model.config, name, getattr(model, stage).config)
    assert model.semantic.config.num_layers == SIZES[size]["num_layers"]
    return model.eval()


def _theirs(model: BarkModel) -> Any:
    import transformers
    from transformers.models.bark import generation_configuration_bark as settings

    fields = {name: getattr(model.config, name).to_diff_dict() for name in model.config.sub_configs}
    peer = transformers.BarkModel(transformers.BarkConfig(**fields))
    for module in peer.codec_model.modules():
        if torch.nn.utils.parametrize.is_parametrized(module, "weight"):
            torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
    peer.load_state_dict({**peer.state_dict(), **model.state_dict()})
    nested = settings.BarkGenerationConfig.from_sub_model_configs(
        settings.BarkSemanticGenerationConfig(),
        settings.BarkCoarseGenerationConfig(),
        settings.BarkFineGenerationConfig(),
    )
    peer.generation_config = transformers.GenerationConfig.from_dict(nested.to_dict())
    return peer.eval().to(model.semantic.device, model.semantic.dtype)


def _speak(model: Any) -> Tensor:
    ids = torch.arange(256)[None].to(model.device)
    torch.manual_seed(0)
    audio: Tensor = model.generate(ids, semantic_max_new_tokens=_TOKENS, **_SAMPLING)
    return audio


def _check(variant: Variant) -> dict[str, float]:
    """Sampled tokens of half precision differ by rounding, and audio with them: the stages are
    compared one by one."""
    audio = variant.call()
    assert audio.shape == (1, 320 * 150), f"expected {320 * 150} samples, got {tuple(audio.shape)}"
    assert audio.isfinite().all()
    return {"rms": float(audio.float().square().mean().sqrt())}


def _cost(model: BarkModel, item: int) -> tuple[int, int]:
    """Tokens at their mean context, prefills (coarse: one, kept for the five windows), fine."""
    parts = [
        pass_cost(model.semantic.config, 257, 10_001, item, causal=True),
        pass_cost(model.coarse_acoustics.config, 257, 1024, item, causal=True),
        codec_cost(150, item),
    ]
    parts += [token_cost(model.semantic.config, 307, 10_001, item, item)] * (_TOKENS - 1)
    parts += [token_cost(model.coarse_acoustics.config, 407, 1024, item, item)] * (_COARSE - 1)
    parts += [pass_cost(model.fine_acoustics.config, 1024, 1024 * 1024, item, causal=False)] * 6
    return sum(b for b, _ in parts), sum(f for _, f in parts)
