"""chunk_length_s: the full pass's result, in memory that does not grow with the clip."""

import subprocess
import sys

import pytest
import torch

from tests.models.dac.helpers import GEOMETRIES, audio, close, small_model
from vivace.models.outputs import Deferred

TOLERANCES = [(torch.float64, 1e-12), (torch.float32, 3e-5)]


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES, ids=["f64", "f32"])
@pytest.mark.parametrize("ratios", GEOMETRIES)
def test_equals_the_full_pass(
    ratios: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    model = small_model(ratios, dtype)
    hop = model.config.hop_length
    x = audio(2, hop * 19 + hop // 2, dtype)
    with torch.no_grad():
        expected = model.encode(x, 3)
        decoded = model.decode(audio_codes=expected.audio_codes).audio_values
    for seconds in (1e-9, 5 * hop / 16000, 100):
        found = model.encode(x, 3, chunk_length_s=seconds)
        assert list(found) == list(expected)
        assert torch.equal(found.audio_codes, expected.audio_codes)
        for name in ("loss", "projected_latents", "quantized_representation"):
            assert found[name].dtype == dtype
            close(found[name], expected[name], tolerance)
        again = model.encode(x, 3, False, chunk_length_s=seconds)
        assert all(map(torch.equal, again, found.to_tuple()))
        for source in ((None, expected.audio_codes), (again[1], None)):
            result = model.decode(*source, chunk_length_s=seconds)
            close(result.audio_values, decoded, tolerance)
            assert not result.audio_values.requires_grad


@pytest.mark.parametrize("ratios", GEOMETRIES[1:3])
def test_padded_batches_in_chunks(ratios: tuple[int, ...]) -> None:
    model = small_model(ratios)
    hop = model.config.hop_length
    lengths = torch.tensor([15 * hop, 6 * hop + 1, 0])
    x = audio(3, 16 * hop)
    mask = torch.arange(16 * hop) < lengths[:, None]
    expected = model.encode(x, padding_mask=mask)
    x = x.masked_fill(~mask[:, None], torch.nan)
    found = model.encode(x, padding_mask=mask, chunk_length_s=0.1)
    assert list(found) == list(expected)
    assert torch.equal(found.code_lengths, expected.code_lengths)
    for name in expected:
        close(found[name].double(), expected[name].double(), 1e-12)
    ends = expected.code_lengths
    whole = model.decode(audio_codes=expected.audio_codes, lengths=ends)
    chunks = model.decode(audio_codes=expected.audio_codes, lengths=ends, chunk_length_s=1e-9)
    assert torch.equal(whole.audio_lengths, chunks.audio_lengths)
    close(chunks.audio_values, whole.audio_values, 1e-12)


def test_the_quantized_latents_wait_until_they_are_asked_for() -> None:
    model = small_model(dtype=torch.float32)
    x = audio(1, 300, torch.float32)
    found = model.encode(x, chunk_length_s=100)
    assert isinstance(found.__dict__["quantized_representation"], Deferred)
    with torch.no_grad():
        expected = model.encode(x)
    assert torch.equal(found.projected_latents, expected.projected_latents)
    # Found from the codes, by a sum in another order than the search's.
    close(found.quantized_representation, expected.quantized_representation, 1e-6)
    assert found.quantized_representation is found[1]


def test_half_precision_keeps_the_wide_latents_for_them() -> None:
    """Latents rounded to bfloat16 would find other codes."""
    model = small_model(dtype=torch.bfloat16)
    found = model.encode(audio(1, 300, torch.bfloat16), chunk_length_s=0.001)
    assert found.projected_latents.dtype == torch.bfloat16
    with torch.no_grad():
        expected = model.quantizer.from_codes(found.audio_codes)[0]
    close(found.quantized_representation, expected, 8e-3)


MEASURE = """
import resource, torch
from vivace.models.dac import DacConfig, DacModel

torch.set_num_threads(1)
model = DacModel(DacConfig(
    encoder_hidden_size=2, decoder_hidden_size=16, sampling_rate=44100, n_codebooks=2
)).eval()

def peak(frames):
    audio = torch.empty(1, 1, 512 * frames).uniform_(-1, 1)
    codes = model.encode(audio, chunk_length_s=1).audio_codes
    model.decode(audio_codes=codes, chunk_length_s=1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

short = peak(300)
print(peak(3000) - short)
"""


def test_memory_is_that_of_input_and_result() -> None:
    """A clip 20 times as long costs its own bytes (audio in and out, codes, latents)."""
    out = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    own = 3000 * (2 * 512 * 4 + 2 * 8 + 2 * 8 * 4)
    # One activation of the first layer would be 12 MB more.
    assert int(out.stdout) < own + 8_000_000
