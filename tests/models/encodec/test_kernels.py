"""A whole small model through the kernels of one backend: every op has to take its part.

"simt" runs the CUDA kernels on the CPU.
"""

import os

import pytest
import torch

import vivace
from tests.models.encodec.helpers import random_codes, small_model
from vivace import _dispatch

TOLERANCES = {
    ("simt", torch.float32): 1e-2,  # tf32 products: ten bits of mantissa, through a dozen layers
    ("cpu", torch.float32): 1e-5,
    ("cpu", torch.bfloat16): 4e-2,
    ("cpu", torch.float16): 1e-2,
}


@pytest.fixture(params=["simt-f32", "cpu-f32", "cpu-bf16", "cpu-f16"])
def kernels(request: pytest.FixtureRequest) -> tuple[str, torch.dtype]:
    name, _, short = request.param.partition("-")
    module = _dispatch.load(name)
    if name == "simt" and module is None and not os.environ.get("CI"):
        pytest.skip("vivace._simt is built for development and CI alone")
    if not hasattr(module, "lstm"):
        pytest.skip(f"vivace._{name} has no lstm")
    return name, {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[short]


@torch.no_grad()
def test_a_model_runs_on_the_kernels(kernels: tuple[str, torch.dtype]) -> None:
    name, dtype = kernels
    model = small_model(dtype=torch.float32)
    x, codes = torch.randn(2, 1, 203), random_codes(model, 1, 2, 8, 11)
    with vivace.backend("torch"):
        hidden = model.encoder(x)
        truth = model.decode(codes).audio_values
    model, x = model.to(dtype), x.to(dtype)
    with vivace.backend(name):
        found = model.encoder(x)
        audio = model.decode(codes).audio_values
    tolerance = TOLERANCES[name, dtype]
    assert (audio - truth).norm() < tolerance * truth.norm()
    assert (found - hidden).norm() < tolerance * hidden.norm()


@torch.no_grad()
def test_streams_and_ragged_batches_are_the_full_pass_bit_for_bit(
    kernels: tuple[str, torch.dtype],
) -> None:
    name, dtype = kernels
    model = small_model(dtype=dtype)
    codes = random_codes(model, 2, 8, 23)
    with vivace.backend(name):
        whole = model.decode(codes[None]).audio_values
        for sizes in ([1] * 23, [3, 1, 9, 2, 8], [23]):
            stream = model.streaming_decoder(batch_size=2)
            pieces = [stream.push(piece) for piece in codes.split(sizes, dim=2)]
            assert torch.equal(torch.cat([*pieces, stream.flush()], 2), whole)
        ragged = model.decode_ragged(codes, [23, 9])
        solo = model.decode(codes[None, 1:, :, :9]).audio_values
        assert torch.equal(ragged[0], whole[0])
        assert torch.equal(ragged[1], solo[0])
