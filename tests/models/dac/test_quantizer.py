"""The quantizer against transformers' on the same hidden states: codes equal bit for bit."""

import importlib

import pytest
import torch
from torch import Tensor

import vivace
from tests.models.dac.helpers import close, pair, small_model

REAL = {"codebook_size": 1024, "codebook_dim": 8, "n_codebooks": 9}


def hidden(batch: int, time: int, dtype: torch.dtype, channels: int = 16) -> Tensor:
    return torch.randn(batch, channels, time, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("changes", [{}, REAL], ids=["small", "real"])
@pytest.mark.parametrize("wanted", [None, 2])
def test_all_results_equal_transformers(
    dtype: torch.dtype, changes: dict[str, int], wanted: int | None
) -> None:
    ours, theirs = (model.quantizer for model in pair(dtype=dtype, **changes))
    h = hidden(2, 301, dtype)
    with torch.no_grad(), vivace.backend("torch"):
        found, expected = ours(h, wanted), theirs(h, wanted)
        z, codes, latents = found[:3]
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
        for a, b in zip(found[:3], expected[:3], strict=True):
            assert torch.equal(a, b)
        for a, b in zip(found[3:], expected[3:], strict=True):
            # One mean over all codebooks instead of a sum of means: another order of summation.
            torch.testing.assert_close(a, b, rtol=1e-6, atol=0)
        for a, b in zip(ours.from_codes(codes), theirs.from_codes(codes), strict=True):
            assert torch.equal(a, b)
        for a, b in zip(ours.from_latents(latents), theirs.from_latents(latents), strict=True):
            assert torch.equal(a, b)
        assert torch.equal(ours.from_latents(latents)[0], z), "z follows from its latents"
        one, other = ours.quantizers[1], theirs.quantizers[1]
        for a, b in zip(one(h), other(h), strict=True):
            assert torch.equal(a, b)
        part = latents[:, : one.codebook_dim]
        for a, b in zip(one.decode_latents(part), other.decode_latents(part), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("wanted", [None, 2])
def test_the_kernels_of_this_machine_agree(wanted: int | None) -> None:
    """Whatever runs by default: the same codes, values to 1e-5 of the largest."""
    ours, theirs = (model.quantizer for model in pair(dtype=torch.float32, **REAL))
    h = hidden(2, 301, torch.float32)
    with torch.no_grad():
        found, expected = ours(h, wanted), theirs(h, wanted)
    assert torch.equal(found[1], expected[1])
    for a, b in ((found[0], expected[0]), (found[2], expected[2])):
        close(a, b, 1e-5)


def test_from_latents_uses_the_codebooks_that_fit() -> None:
    ours, theirs = (model.quantizer for model in pair())
    for channels in (4, 7, 8, 16, 40):
        latents = hidden(1, 5, torch.float64, channels)
        found, expected = ours.from_latents(latents), theirs.from_latents(latents)
        assert all(map(torch.equal, found, expected))


def test_the_first_of_equal_codes_wins() -> None:
    ours, theirs = (model.quantizer for model in pair(dtype=torch.float32))
    for quantizer in (ours, theirs):
        weight = quantizer.quantizers[0].codebook.weight.data
        weight[8:16] = 2 * weight[:8]  # the same direction, exactly
        weight[16:] = weight[:16]
    h = hidden(2, 200, torch.float32)
    codes = ours(h)[1]
    assert torch.equal(codes, theirs(h)[1])
    assert int(codes[:, 0].max()) < 8
    ours.quantizers[0].codebook.weight.data[:] = 1.0
    assert not ours(h)[1][:, 0].any()


def test_latents_of_zero_and_nan() -> None:
    ours, theirs = (model.quantizer.quantizers[0] for model in pair(dtype=torch.float32))
    latents = torch.zeros(1, 4, 3)
    latents[0, 1, 2] = float("nan")
    assert torch.equal(ours.decode_latents(latents)[1], theirs.decode_latents(latents)[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models_quantize_in_float32(dtype: torch.dtype) -> None:
    """Codes and losses are those of transformers in float32 on the same weights and latents."""
    ours, theirs = pair(dtype=dtype, **REAL)
    theirs.float()
    h = hidden(2, 200, dtype)
    with torch.no_grad(), vivace.backend("torch"):
        z, codes, latents, *losses = ours.quantizer(h)
        expected = theirs.quantizer(h.float())
        assert torch.equal(codes, expected[1])
        assert torch.equal(z, expected[0].to(dtype))
        assert torch.equal(latents, expected[2].to(dtype))
        # One mean over all codebooks instead of a sum of means: another order of summation.
        torch.testing.assert_close(losses, list(expected[3:]), rtol=1e-6, atol=0)
        from_codes = ours.quantizer.from_codes(codes)
        wide = theirs.quantizer.from_codes(codes)
    assert torch.equal(from_codes[0], wide[0].to(dtype))
    assert from_codes[1].dtype == dtype


def test_autocast_does_not_reach_the_quantizer() -> None:
    quantizer = small_model(dtype=torch.float32, **REAL).quantizer
    h = hidden(1, 100, torch.float32).bfloat16().float()
    with torch.no_grad():
        expected = quantizer(h)
        with torch.autocast("cpu", torch.bfloat16):
            found = quantizer(h.bfloat16())
            from_codes = quantizer.from_codes(found[1])[0]
    assert all(map(torch.equal, found, expected))
    assert torch.equal(from_codes, quantizer.from_codes(found[1])[0])


def test_a_split_table_of_distances_gives_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = small_model().quantizer
    h = hidden(3, 50, torch.float64)
    whole = quantizer(h)
    op = importlib.import_module("vivace.ops.rvq_encode")
    monkeypatch.setattr(op, "_TABLE_ENTRIES", 32 * 7)
    assert all(map(torch.equal, quantizer(h), whole))


def test_lengths_give_each_row_its_own_loss() -> None:
    quantizer = small_model().quantizer
    h, lengths = hidden(3, 20, torch.float64), [20, 7, 0]
    found = quantizer(h, lengths=lengths)
    for row, length in enumerate(lengths):
        z, codes, latents, *losses = (x[row : row + 1] for x in found)
        assert not any(bool(x[..., length:].any()) for x in (z, codes, latents))
        if length == 0:
            assert not any(map(bool, losses))
            continue
        solo = quantizer(h[row : row + 1, :, :length])
        assert torch.equal(codes[..., :length], solo[1])
        for a, b in zip((z, latents), (solo[0], solo[2]), strict=True):
            close(a[..., :length], b, 1e-14)
        for a, b in zip(losses, solo[3:], strict=True):
            close(a, b, 1e-13)
