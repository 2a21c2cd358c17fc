"""A whole small model through the kernels of one backend: every op has to take its part.

"simt" runs the CUDA kernels on the CPU.
"""

import os

import pytest
import torch

import vivace
from tests.models.dac.helpers import small_model
from vivace import _dispatch


@pytest.fixture(params=["simt-f32", "cpu-f32", "cpu-bf16", "cpu-f16"])
def kernels(request: pytest.FixtureRequest) -> tuple[str, torch.dtype]:
    name, _, short = request.param.partition("-")
    if name == "simt" and _dispatch.load(name) is None and not os.environ.get("CI"):
        pytest.skip("vivace._simt is built for development and CI alone")
    return name, {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[short]


@torch.no_grad()
def test_a_model_runs_on_the_kernels(kernels: tuple[str, torch.dtype]) -> None:
    name, dtype = kernels
    model = small_model((2, 4), torch.float32)
    x = torch.randn(2, 1, 203) * 0.3
    with vivace.backend("torch"):
        expected = model.encode(x)
        truth = model.decode(expected.quantized_representation).audio_values
    model, x = model.to(dtype), x.to(dtype)
    with vivace.backend(name):
        found = model.encode(x)
        audio = model.decode(expected.quantized_representation.to(dtype)).audio_values
        from_codes = model.decode(audio_codes=expected.audio_codes).audio_values
    # tf32 products: ten bits of mantissa through a dozen layers; bfloat16 has seven.
    tolerance = {("simt", torch.float32): 1e-2, ("cpu", torch.float32): 1e-5}.get(
        (name, dtype), 4e-2 if dtype == torch.bfloat16 else 1e-2
    )
    assert (audio - truth).norm() < tolerance * truth.norm()
    assert (from_codes - truth).norm() < tolerance * truth.norm()
    same = (found.audio_codes[:, 0] == expected.audio_codes[:, 0]).double().mean()
    assert same > 0.8, "codes of the first book, which rounded latents choose"


@torch.no_grad()
def test_streams_and_padded_batches_are_the_full_pass_bit_for_bit(
    kernels: tuple[str, torch.dtype],
) -> None:
    name, dtype = kernels
    model = small_model((2, 4), dtype)
    with vivace.backend(name):
        codes = torch.randint(0, model.config.codebook_size, (2, model.config.n_codebooks, 17))
        whole = model.decode(audio_codes=codes).audio_values
        stream = model.streaming_decoder(batch_size=2)
        pieces = [stream.push(codes[..., t : t + 3]) for t in range(0, 17, 3)]
        assert torch.equal(torch.cat([*pieces, stream.flush()], 1), whole)
        ragged = model.decode(audio_codes=codes, lengths=[17, 9])
        solo = model.decode(audio_codes=codes[1:, :, :9]).audio_values
        end = int(ragged.audio_lengths[1])
        assert torch.equal(ragged.audio_values[1, :end], solo[0])
        assert torch.equal(ragged.audio_values[0], whole[0])
