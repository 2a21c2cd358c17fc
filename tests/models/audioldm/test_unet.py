"""UNet2DConditionModel against diffusers' class with the same random weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.audioldm.helpers_unet import CROSS_DOWN, CROSS_UP, close, inputs, unet_pair

EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}
FOUR: dict[str, Any] = {
    "block_out_channels": [8, 16, 24, 32],
    "cross_attention_dim": [8, 16, 24, 32],
    "down_block_types": ["DownBlock2D", *[CROSS_DOWN] * 3],
    "up_block_types": [*[CROSS_UP] * 3, "UpBlock2D"],
    "layers_per_block": 2,
}
# What the released models do not have, one thing at a time.
VARIANTS: dict[str, dict[str, Any]] = {
    "as released": FOUR,
    "heads per level": {"attention_head_dim": [2, 4, 8]},
    "layers per level": {"layers_per_block": [1, 3, 2]},
    "sum of embeddings": {"class_embeddings_concat": False},
    "sine first": {"flip_sin_to_cos": False, "freq_shift": 1},
    "odd width": {"block_out_channels": [9, 18, 27], "norm_num_groups": 3}
    | {"cross_attention_dim": [9, 18, 27], "attention_head_dim": 3},
    "attention above only": {"down_block_types": ["DownBlock2D"] * 3},
    "attention everywhere": {
        "down_block_types": [CROSS_DOWN] * 3,
        "up_block_types": [CROSS_UP] * 3,
    },
    "eps": {"norm_eps": 0.1},
    "one level": {"block_out_channels": [8], "cross_attention_dim": 8}
    | {"down_block_types": [CROSS_DOWN], "up_block_types": ["UpBlock2D"]},
}


def sample(model: Any, x: Tensor, t: Any, **kwargs: Any) -> Any:
    """Both classes' result, a tensor; theirs has no default for the context."""
    return model(x, t, kwargs.pop("encoder_hidden_states", None), **kwargs).sample


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_configurations(name: str) -> None:
    ours, theirs = unet_pair(**VARIANTS[name])
    x, condition = inputs(ours, height=12, width=8)
    close(sample(ours, x, 7, **condition), sample(theirs, x, 7, **condition), 1e-10)


@torch.no_grad()
@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("size", [(8, 4), (5, 16), (13, 5), (125, 16), (1, 1), (2, 7)])
def test_sizes(dtype: torch.dtype, size: tuple[int, int]) -> None:
    ours, theirs = unet_pair(dtype, **FOUR)
    x, condition = inputs(ours, 2, *size)
    expected = sample(theirs, x, 901, **condition)
    close(sample(ours, x, 901, **condition), expected, EXACT[dtype])


TIMESTEPS: dict[str, Any] = {
    "int": 1,
    "float": 399.38,
    "int tensor": torch.tensor(999),
    "float tensor": torch.tensor(399.38),
    "double tensor": torch.tensor(399.38, dtype=torch.float64),
    "one": torch.tensor([17]),
    "per row": torch.tensor([0, 500, 999]),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", TIMESTEPS)
def test_timesteps(kind: str) -> None:
    ours, theirs = unet_pair()
    x, condition = inputs(ours, batch=3)
    t = TIMESTEPS[kind]
    expected = sample(theirs, x, t, **condition)
    close(sample(ours, x, t, **condition), expected, 1e-10)
    assert not torch.equal(expected, sample(theirs, x, 2, **condition))


@torch.no_grad()
def test_context() -> None:
    """Given encoder_hidden_states, the second attentions attend to them; the widths must agree."""
    ours, theirs = unet_pair(cross_attention_dim=6)
    x, condition = inputs(ours)
    condition["encoder_hidden_states"] = torch.randn(2, 5, 6, dtype=x.dtype)
    expected = sample(theirs, x, 7, **condition)
    close(sample(ours, x, 7, **condition), expected, 1e-10)


@torch.no_grad()
@pytest.mark.parametrize("dtype", EXACT)
def test_channels_last(dtype: torch.dtype) -> None:
    """Right, and no convolution sees another layout."""
    ours, theirs = unet_pair(dtype, **FOUR)
    x, condition = inputs(ours, 2, 13, 16)
    expected = sample(theirs, x, 31, **condition)
    ours = ours.to(memory_format=torch.channels_last)
    seen = []

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].is_contiguous(memory_format=torch.channels_last))

    for module in ours.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(look)
    actual = sample(ours, x.to(memory_format=torch.channels_last), 31, **condition)
    assert len(seen) > 50
    assert all(seen)
    assert actual.is_contiguous(memory_format=torch.channels_last)
    close(actual, expected, EXACT[dtype])
    assert sample(
        ours.to(memory_format=torch.contiguous_format), x, 31, **condition
    ).is_contiguous()


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_half_precision(dtype: torch.dtype, bound: float) -> None:
    """As near to float64 as diffusers' own half precision, within a factor."""
    ours, theirs = unet_pair(**FOUR)
    x, condition = inputs(ours, 2, 13, 16)
    truth = sample(theirs, x, 31, **condition)
    half = {"class_labels": condition["class_labels"].to(dtype)}
    actual = sample(ours.to(dtype), x.to(dtype), 31, **half)
    reference = sample(theirs.to(dtype), x.to(dtype), 31, **half)
    assert actual.dtype == dtype

    def error(y: Tensor) -> float:
        return float((y.double() - truth).norm() / truth.norm())

    assert error(actual) < min(bound, 1.5 * error(reference))


def test_gradients() -> None:
    ours, theirs = unet_pair(**FOUR)
    x, condition = inputs(ours, 2, 6, 5)
    weights = torch.randn(2, 5, 6, 5, dtype=x.dtype)
    results: list[Any] = []
    for model in (ours, theirs):
        given = x.clone().requires_grad_()
        (sample(model, given, 7, **condition) * weights).sum().backward()
        named = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append((given.grad, named))
    close(results[0][0], results[1][0], 1e-10)
    assert set(results[0][1]) == set(results[1][1])
    for name, grad in results[1][1].items():
        actual = results[0][1][name]
        torch.testing.assert_close(actual, grad, rtol=1e-8, atol=1e-9, msg=name)


def test_frozen_weights_let_gradients_through() -> None:
    ours, _ = unet_pair()
    ours.requires_grad_(False)
    x, condition = inputs(ours)
    x.requires_grad_()
    sample(ours, x, 7, **condition).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().min()) > 0


@torch.no_grad()
def test_weights_may_change_between_calls() -> None:
    ours, theirs = unet_pair()
    x, condition = inputs(ours)
    sample(ours, x, 7, **condition)
    for model in (ours, theirs):
        model.mid_block.attentions[0].transformer_blocks[0].attn1.to_k.weight.mul_(3.0)
    close(sample(ours, x, 7, **condition), sample(theirs, x, 7, **condition), 1e-10)


@torch.no_grad()
def test_outputs() -> None:
    ours, _ = unet_pair()
    x, condition = inputs(ours)
    output = ours(x, 7, **condition)
    assert output.sample is output["sample"] is output[0] is output.to_tuple()[0]
    (alone,) = ours(x, 7, **condition, return_dict=False)
    assert torch.equal(alone, output.sample)


@torch.no_grad()
@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize("dtype", EXACT)
def test_time_embeddings(dtype: torch.dtype, concat: bool) -> None:
    """The terms of a whole schedule, computed at once, give what the plain call gives."""
    ours, _ = unet_pair(dtype, **FOUR, class_embeddings_concat=concat)
    x, condition = inputs(ours, 2, 13, 5)
    schedule = [999.0, 399.38, 1.0]
    for timesteps in (schedule, torch.tensor(schedule)):
        terms = ours.time_embeddings(timesteps, condition["class_labels"])
        assert terms.shape[:2] == (3, 2)
        for t, row in zip(schedule, terms, strict=True):
            actual = ours(x, 0, time_terms=row).sample
            close(actual, sample(ours, x, t, **condition), EXACT[dtype])


@torch.no_grad()
def test_compiles_into_one_graph() -> None:
    ours, _ = unet_pair(torch.float32)
    x, condition = inputs(ours, 2, 5, 6)
    compiled: Any = torch.compile(ours, fullgraph=True, backend="aot_eager")
    t = torch.tensor(31)
    expected = sample(ours, x, t, **condition)
    close(compiled(x, t, **condition).sample, expected, 1e-5)
    terms = ours.time_embeddings([31], condition["class_labels"])[0]
    close(compiled(x, t, time_terms=terms).sample, expected, 1e-5)


def test_refused_arguments() -> None:
    ours, theirs = unet_pair()
    x, condition = inputs(ours)
    for model in (ours, theirs):
        with pytest.raises(ValueError, match="class_labels should be provided when num_class_em"):
            sample(model, x, 7)
    with pytest.raises(ValueError, match="attention_mask is not implemented"):
        ours(x, 7, **condition, attention_mask=torch.ones(2, 3))
    with pytest.raises(ValueError, match="mid_block_additional_residual is not implemented"):
        ours(x, 7, **condition, mid_block_additional_residual=x)
    with pytest.raises(ValueError, match=r"\[16, 24\] channels at once.*got shape \(2, 5, 16\)"):
        ours(x, 7, torch.randn(2, 5, 16), **condition)
    lone, _ = unet_pair(cross_attention_dim=6)
    with pytest.raises(ValueError, match=r"encoder_hidden_states is needed.*\[6\] differs"):
        lone(x, 7, **condition)


@torch.no_grad()
def test_ignored_keywords_are_named(caplog: pytest.LogCaptureFixture) -> None:
    ours, _ = unet_pair()
    x, condition = inputs(ours)
    caplog.clear()
    ours(x, 7, **condition, cross_attention_kwargs={})
    assert not caplog.records
    ours(x, 7, **condition, cross_attention_kwargs={"scale": 0.5})
    assert "['scale'] are ignored" in caplog.text
