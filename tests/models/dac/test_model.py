"""DacModel against transformers', live, on random weights: results, shapes, modes, halves."""

import inspect
import random
from typing import Any

import pytest
import torch
import transformers

import vivace
from tests.models.dac.helpers import GEOMETRIES, audio, close, pair, settings, small_model
from vivace.models.dac import DacConfig, DacModel, DacPreTrainedModel

FIELDS = ["loss", "audio_values", "quantized_representation", "audio_codes", "projected_latents"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("ratios", GEOMETRIES)
def test_equals_transformers_bit_for_bit(ratios: tuple[int, ...], dtype: torch.dtype) -> None:
    """The torch backend runs the same operations in the same order.

    The loss alone is summed in another order: over all codebooks at once.
    """
    ours, theirs = pair(ratios, dtype)
    chance = random.Random(torch.initial_seed())
    for batch in (1, 3):
        x = audio(batch, ours.config.hop_length * 3 + chance.randrange(500), dtype)
        wanted = chance.choice([None, 2, 3, 9])
        with torch.no_grad(), vivace.backend("torch"):
            result, expected = ours(x, wanted), theirs(x, wanted)
            assert list(result) == list(expected) == FIELDS
            for name in FIELDS:
                assert result[name].dtype == expected[name].dtype
                if name != "loss":
                    assert torch.equal(result[name], expected[name]), name
            close(result.loss, expected.loss, 1e-14 if dtype == torch.float64 else 1e-6)
            decoded = ours.decode(audio_codes=result.audio_codes)
            again = theirs.decode(audio_codes=result.audio_codes)
            assert torch.equal(decoded.audio_values, again.audio_values)
        assert result.audio_codes.unique().numel() > 3, "a degenerate model shows nothing"


@pytest.mark.parametrize("ratios", GEOMETRIES[:2])
def test_the_automatic_backend_is_within_a_part_in_100000(ratios: tuple[int, ...]) -> None:
    ours, theirs = pair(ratios, torch.float32)
    x = audio(2, 4000, torch.float32)
    with torch.no_grad():
        result, expected = ours(x), theirs(x)
    assert torch.equal(result.audio_codes, expected.audio_codes)
    for name in FIELDS:
        close(result[name], expected[name], 1e-5)


@pytest.mark.parametrize(
    ("ratios", "lengths"),
    [((2, 4, 8, 8), (512, 513, 1023, 1024, 1500)), ((2, 4, 5, 8), (312, 320, 631, 632, 1000))],
)
def test_lengths(ratios: tuple[int, ...], lengths: tuple[int, ...]) -> None:
    model = small_model(ratios, torch.float32)
    odd = ratios == (2, 4, 5, 8)
    for length in lengths:
        with torch.no_grad():
            encoded = model.encode(audio(1, length, torch.float32))
            decoded = model.decode(encoded.quantized_representation)
        frames = (length + 8) // 320 if odd else length // 512
        assert encoded.audio_codes.shape == (1, 4, frames)
        assert decoded.audio_values.shape == (1, 320 * frames - 8 if odd else 512 * frames)


def test_return_dict_and_positions() -> None:
    ours, theirs = pair()
    x = audio(2, 50)
    with torch.no_grad():
        for model in (ours, theirs):
            dicts = model.encode(x), model.decode(model.encode(x)[1]), model(x, 2)
            tuples = (
                model.encode(x, None, False),
                model.decode(model.encode(x)[1], None, False),
                model(x, 2, False),
            )
            for by_name, by_position in zip(dicts, tuples, strict=True):
                assert isinstance(by_position, tuple)
                assert all(map(torch.equal, by_name.to_tuple(), by_position))
            model.config.return_dict = False
            assert [len(model.encode(x)), len(model(x))] == [4, 5]
            assert model.encode(x, return_dict=True).audio_codes.shape == (2, 4, 6)
    for name in ("encode", "decode", "forward"):
        wanted = list(inspect.signature(getattr(theirs, name)).parameters.values())
        found = inspect.signature(getattr(ours, name)).parameters.values()
        positional = [p for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert [(p.name, p.default) for p in positional] == [(p.name, p.default) for p in wanted]


def test_nan_and_silence_as_upstream() -> None:
    ours, theirs = pair()
    x = audio(2, 60)
    x[1, :, 10] = float("nan")
    with torch.no_grad():
        for signal in (x, torch.zeros(2, 1, 60, dtype=torch.float64)):
            assert torch.equal(ours.encode(signal).audio_codes, theirs.encode(signal).audio_codes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    model = small_model((2, 4), dtype)
    with torch.no_grad():
        result = model(audio(2, 80, dtype))
    types = {name: result[name].dtype for name in FIELDS}
    # The loss is a sum of float32 squares: rounding it would gain nothing.
    assert types == dict.fromkeys(FIELDS, dtype) | {
        "loss": torch.float32,
        "audio_codes": torch.int64,
    }
    assert torch.isfinite(result.audio_values).all()


def test_a_new_model_is_transformers_new_model() -> None:
    """Training mode, the same keys in the same order, and with the same seed the same weights."""
    torch.manual_seed(3)
    theirs = transformers.DacModel(transformers.DacConfig(**settings()))
    torch.manual_seed(3)
    ours = DacModel(DacConfig(**settings()))
    assert ours.training
    assert ours.bits_per_codebook == theirs.bits_per_codebook == 5
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    assert ours.num_parameters() == theirs.num_parameters()


def test_latents_of_another_width() -> None:
    """hidden_size given in the configuration wins, as in the 16 kbps model."""
    ours, theirs = pair(hidden_size=6)
    x = audio(1, 40)
    with torch.no_grad():
        assert ours.encode(x)[1].shape == (1, 6, 5)
        close(ours(x).audio_values, theirs(x).audio_values, 1e-13)


def test_weight_norm() -> None:
    ours, theirs = pair()
    x = audio(1, 60)
    with torch.no_grad():
        before = ours(x)
        ours.apply_weight_norm()
        theirs.apply_weight_norm()
        assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
        close(ours(x).audio_values, before.audio_values, 1e-12)
        with pytest.raises(ValueError, match="parametrised already"):
            ours.apply_weight_norm()
        ours.remove_weight_norm()
        close(ours(x).audio_values, before.audio_values, 1e-12)
        with pytest.raises(ValueError, match="weight_norm of 'weight' not found in"):
            ours.remove_weight_norm()
    assert not [key for key in ours.state_dict() if "parametrizations" in key]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_one_half(part: str) -> None:
    model = small_model()
    half = DacModel(model.config, part=part).double().eval()  # type: ignore[arg-type]
    other = "decoder" if part == "encoder" else "encoder"
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith(f"{other}.")}
    half.load_state_dict(kept, strict=True)
    assert getattr(half, other) is None
    assert half._unloaded_prefixes == (f"{other}.",)
    x = audio(1, 40)
    codes = model.encode(x).audio_codes
    works: dict[str, Any] = {
        "encoder": (lambda m: m.encode(x).audio_codes, lambda m: m.streaming_encoder().push(x)),
        "decoder": (
            lambda m: m.decode(audio_codes=codes).audio_values,
            lambda m: m.streaming_decoder().push(codes),
        ),
    }
    for call in works[part]:
        assert torch.equal(call(half), call(model))
    for call in (*works[other], lambda m: m(x)):
        with pytest.raises(ValueError, match=f"has no {other}: .*part='{part}'"):
            call(half)


def test_bad_construction() -> None:
    with pytest.raises(ValueError, match=r"The codebook_size must be a power of 2\."):
        DacModel(DacConfig(**settings(codebook_size=1000)))
    with pytest.raises(ValueError, match="part must be 'encoder', 'decoder' or None, got 'both'"):
        DacModel(DacConfig(**settings()), part="both")  # type: ignore[arg-type]


def test_from_descript(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    source = lambda path: (model.config, model.state_dict())  # noqa: E731
    monkeypatch.setattr("vivace.models.dac.model.load_descript", source)
    x = audio(1, 40)
    for part in (None, "encoder"):
        loaded = DacModel.from_descript("weights.pth", part=part)  # type: ignore[arg-type]
        assert not loaded.training
        assert torch.equal(loaded.encode(x).audio_codes, model.encode(x).audio_codes)
    assert loaded.decoder is None
    assert isinstance(loaded, DacPreTrainedModel)
