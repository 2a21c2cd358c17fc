"""AutoencoderKL against diffusers' class with the same random weights."""

from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as TheirDistribution
from torch import Tensor, nn

from tests.models.audioldm.helpers_unet import close, vae_pair
from vivace.models.audioldm.vae_distribution import DiagonalGaussianDistribution

EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}
VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "as released": {
        "block_out_channels": [8, 16, 24],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "layers_per_block": 2,
    },
    "one level": {
        "block_out_channels": (8,),
        "down_block_types": ("DownEncoderBlock2D",),
        "up_block_types": ("UpDecoderBlock2D",),
    },
    "channels": {"in_channels": 3, "out_channels": 2, "latent_channels": 1},
}


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", EXACT)
def test_encode_and_decode(name: str, dtype: torch.dtype) -> None:
    ours, theirs = vae_pair(dtype, **VARIANTS[name])
    for height, width in ((8, 8), (13, 6), (21, 16)):
        x = torch.randn(2, ours.config.in_channels, height, width, dtype=dtype)
        actual, expected = ours.encode(x).latent_dist, theirs.encode(x).latent_dist
        close(actual.mean, expected.mean, EXACT[dtype])
        close(actual.std, expected.std, EXACT[dtype])
        z = expected.mean
        close(ours.decode(z).sample, theirs.decode(z).sample, EXACT[dtype])


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (5, 2), (13, 4), (125, 16)])
def test_latents_of_any_size(size: tuple[int, int]) -> None:
    ours, theirs = vae_pair(**VARIANTS["as released"])
    z = torch.randn(2, 3, *size, dtype=torch.float64)
    close(ours.decode(z).sample, theirs.decode(z).sample, 1e-10)


@torch.no_grad()
def test_forward() -> None:
    ours, theirs = vae_pair()
    x = torch.randn(2, 1, 8, 6, dtype=torch.float64)
    close(ours(x).sample, theirs(x).sample, 1e-10)
    draws = []
    for model in (ours, theirs):
        generator = torch.Generator().manual_seed(3)
        draws.append(model(x, sample_posterior=True, generator=generator).sample)
    close(draws[0], draws[1], 1e-10)
    assert not torch.allclose(draws[0], ours(x).sample)


@torch.no_grad()
def test_slicing() -> None:
    ours, _ = vae_pair()
    x = torch.randn(3, 1, 8, 6, dtype=torch.float64)
    z = ours.encode(x).latent_dist.mean
    expected = ours.decode(z).sample
    rows = []
    ours.decoder.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape[0]))
    ours.enable_slicing()
    assert ours.use_slicing
    close(ours.encode(x).latent_dist.mean, z, 1e-12)
    close(ours.decode(z).sample, expected, 1e-12)
    ours.disable_slicing()
    close(ours.decode(z).sample, expected, 1e-12)
    assert rows == [1, 1, 1, 3]


@torch.no_grad()
@pytest.mark.parametrize("dtype", EXACT)
def test_channels_last(dtype: torch.dtype) -> None:
    """Right, and no convolution of several channels sees another layout."""
    ours, theirs = vae_pair(dtype, **VARIANTS["as released"])
    z = torch.randn(2, 3, 5, 4, dtype=dtype)
    expected = theirs.decode(z).sample
    latents = theirs.encode(expected).latent_dist.mean
    ours = ours.to(memory_format=torch.channels_last)
    seen = []

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].is_contiguous(memory_format=torch.channels_last))

    for module in ours.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(look)
    close(ours.decode(z.to(memory_format=torch.channels_last)).sample, expected, EXACT[dtype])
    last = expected.to(memory_format=torch.channels_last)
    close(ours.encode(last).latent_dist.mean, latents, EXACT[dtype])
    assert len(seen) > 30
    assert all(seen)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_half_precision(dtype: torch.dtype, bound: float) -> None:
    """As near to float64 as diffusers' own half precision, within a factor."""
    ours, theirs = vae_pair(**VARIANTS["as released"])
    z = torch.randn(2, 3, 13, 4, dtype=torch.float64)
    truth = theirs.decode(z).sample
    actual = ours.to(dtype).decode(z.to(dtype)).sample
    reference = theirs.to(dtype).decode(z.to(dtype)).sample
    assert actual.dtype == dtype

    def error(y: Tensor) -> float:
        return float((y.double() - truth).norm() / truth.norm())

    assert error(actual) < min(bound, 1.5 * error(reference))


def test_gradients() -> None:
    ours, theirs = vae_pair()
    x = torch.randn(2, 1, 8, 6, dtype=torch.float64)
    weights = torch.randn_like(x)
    for model in (ours, theirs):
        (model(x).sample * weights).sum().backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-8, atol=1e-9, msg=name)


@torch.no_grad()
def test_compiles_into_one_graph() -> None:
    ours, _ = vae_pair(torch.float32)
    z = torch.randn(1, 3, 5, 4)
    compiled: Any = torch.compile(ours.decode, fullgraph=True, backend="aot_eager")
    close(compiled(z).sample, ours.decode(z).sample, 1e-5)


@torch.no_grad()
def test_outputs() -> None:
    ours, _ = vae_pair()
    x = torch.randn(1, 1, 8, 6, dtype=torch.float64)
    output = ours.encode(x)
    assert output.latent_dist is output["latent_dist"] is output[0]
    (latents,) = ours.encode(x, return_dict=False)
    assert torch.equal(latents.mean, output[0].mean)
    decoded = ours.decode(latents.mode())
    assert decoded.sample is decoded["sample"] is decoded[0]
    assert decoded.commit_loss is None
    assert len(decoded.to_tuple()) == 1
    (alone,) = ours.decode(latents.mode(), return_dict=False)
    (both,) = ours(x, return_dict=False)
    assert torch.equal(alone, decoded.sample)
    assert torch.equal(both, alone)


def test_distribution() -> None:
    """Every number, also where the log variance is clamped."""
    parameters = 40.0 * torch.randn(3, 4, 5, 6, dtype=torch.float64)
    others = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    ours, theirs = DiagonalGaussianDistribution(parameters), TheirDistribution(parameters)
    for name in ("mean", "logvar", "std", "var"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.mode() is ours.mean
    close(ours.kl(), theirs.kl(), 1e-12)
    close(
        ours.kl(DiagonalGaussianDistribution(others)), theirs.kl(TheirDistribution(others)), 1e-12
    )
    x = torch.randn(3, 2, 5, 6, dtype=torch.float64)
    close(ours.nll(x), theirs.nll(x), 1e-12)
    close(ours.nll(x, dims=(1, 2)), theirs.nll(x, dims=[1, 2]), 1e-12)
    sure = DiagonalGaussianDistribution(parameters, deterministic=True)
    assert torch.equal(sure.sample(), sure.mean)
    assert sure.kl().tolist() == sure.nll(x).tolist() == [0.0]


def test_draws() -> None:
    parameters = torch.randn(3, 4, 5, 6)
    ours, theirs = DiagonalGaussianDistribution(parameters), TheirDistribution(parameters)

    def seeded(*seeds: int) -> Any:
        made = [torch.Generator().manual_seed(seed) for seed in seeds]
        return made if len(made) > 1 else made[0]

    assert torch.equal(ours.sample(seeded(5)), theirs.sample(seeded(5)))
    drawn = ours.sample(seeded(5, 6, 7))
    assert torch.equal(drawn, theirs.sample(seeded(5, 6, 7)))
    alone = DiagonalGaussianDistribution(parameters[1:2]).sample(seeded(6))
    assert torch.equal(drawn[1:2], alone)
    torch.manual_seed(8)
    first = ours.sample()
    torch.manual_seed(8)
    assert torch.equal(first, theirs.sample())
    with pytest.raises(ValueError, match="one for each of the 3 rows, got 2"):
        ours.sample(seeded(1, 2))
