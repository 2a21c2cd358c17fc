"""DAC's cases: formulas against the measured model sizes, and checks that refuse wrong results."""

from pathlib import Path

import pytest
import torch

from bench.case import Options, Variant
from bench.models import suites
from bench.models.dac.cost import decode_cost, encode_cost
from bench.models.dac.verify import Check, check_audio, check_codes, check_stream
from bench.models.dac.weights import config_of, random_model
from bench.plot import draw
from bench.record import Record
from vivace import DacConfig

TINY = {
    "encoder_hidden_size": 8,
    "downsampling_ratios": (2, 3),
    "decoder_hidden_size": 16,
    "n_codebooks": 3,
    "codebook_size": 64,
    "codebook_dim": 4,
}


@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "quantizer"),
    [("dac_16khz", 12.28, 27.81, 0.0147), ("dac_44khz", 30.64, 69.26, 0.0191)],
)
def test_macs_per_second(name: str, encoder: float, decoder: float, quantizer: float) -> None:
    """In GMAC per second of audio: the figures of the layer-by-layer tables of these models."""
    config = config_of(name)
    rate = config.sampling_rate / config.hop_length / 1e9
    assert encode_cost(config).macs * rate == pytest.approx(encoder, abs=5e-3)
    assert decode_cost(config).macs * rate == pytest.approx(decoder, abs=5e-3)
    assert encode_cost(config).quantizer_macs * rate == pytest.approx(quantizer, abs=1e-4)


def test_weights_are_those_of_the_model() -> None:
    config = DacConfig(**TINY)
    model = random_model(config)
    assert model.encoder is not None
    assert model.decoder is not None
    encode, decode = encode_cost(config), decode_cost(config)
    for module, count in (
        (model.encoder, encode.params),
        (model.decoder, decode.params),
        (model.quantizer, encode.quantizer_params),
    ):
        assert sum(p.numel() for p in module.parameters()) == count
    nbytes = encode.bytes(config, batch=2, frames=5, itemsize=4)
    weights = 4 * (encode.params + encode.quantizer_params)
    assert nbytes == weights + 4 * 2 * 5 * config.hop_length + 8 * 2 * 5 * 3
    assert encode.flops(5) == 5 * encode.flops(1)


def test_weights_are_seeded_and_not_degenerate() -> None:
    config = DacConfig(**TINY)
    a, b = random_model(config).state_dict(), random_model(config).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert all(
        value.unique().numel() == value.numel() for key, value in a.items() if "alpha" in key
    )
    audio = random_model(config).decode(audio_codes=torch.randint(64, (1, 3, 50))).audio_values
    assert 0.02 < audio.std() < 0.9


@pytest.mark.parametrize("name", ["dac_44khz/decode/0.1s/b1", "dac_44khz/encode/frame/b1"])
def test_cases_are_selected_by_id(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.models.dac.config_of", lambda name: DacConfig(**TINY))
    options = Options(name=name, dtypes=("float32",), quick=True, compile=())
    notes: list[str] = []
    cases = list(suites()["dac"](options, notes.append))
    assert [case.id for case in cases] == [name]
    variants = cases[0].variants
    assert [v.name for v in variants] == (
        ["vivace"] if "frame" in name else ["vivace", "transformers"]
    )
    with torch.no_grad():
        for variant in variants:
            assert cases[0].verify(variant)
            variant.call(*cases[0].args)
    assert not notes


def test_a_wrong_codec_is_refused() -> None:
    model = random_model(DacConfig(**TINY))
    codes = torch.randint(64, (2, 3, 40))

    def right(x: torch.Tensor) -> torch.Tensor:
        return model.decode(audio_codes=x).audio_values

    def wrong(x: torch.Tensor) -> torch.Tensor:
        return right(x).roll(1, -1)

    check = Check(right, right, check_audio, codes, "bfloat16")
    with torch.no_grad():
        assert check(Variant("vivace", right))["rel_l2"] == 0
        with pytest.raises(AssertionError, match=r"allowed 0\.01"):
            check(Variant("vivace", wrong))
        stream = Variant("vivace", torch.nn.Identity())
        assert check_stream(right, lambda: model.streaming_decoder(2), codes, 1, stream)
        with pytest.raises(AssertionError, match=r"allowed 0\.0001"):
            check_stream(wrong, lambda: model.streaming_decoder(2), codes, 1, stream)


def test_codes_are_counted() -> None:
    truth = torch.randint(64, (1, 3, 50))
    other = truth.clone()
    other[0, 0, :5] += 1
    other[0, 2, :10] += 1
    errors, error = check_codes(other, truth)
    assert errors == {"match": pytest.approx(0.9), "match_first": pytest.approx(0.9)}
    assert error == pytest.approx(0.1)
    with pytest.raises(AssertionError, match="expected"):
        check_codes(truth[..., :-1], truth)


def test_plot(record: Record, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.png"
    draw([record.to_dict()], path)
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no record"):
        draw([], path)
