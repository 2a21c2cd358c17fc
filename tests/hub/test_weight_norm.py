"""Weight norm in checkpoints, against torch's own two implementations."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vivace.hub import (
    LazyTensor,
    fold_state_dict,
    fold_weight_norm,
    lazy_tensors,
    match_weight_norm,
)

LAYERS = {
    "conv": lambda: nn.Conv1d(3, 5, 4),
    "one_channel": lambda: nn.Conv1d(1, 1, 1),
    "transposed": lambda: nn.ConvTranspose1d(3, 5, 4),
    "linear": lambda: nn.Linear(3, 5),
}


def normed(name: str, old: bool) -> nn.Module:
    """A layer with weight norm, its parameters random and its gain not that of the weight."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old one announces its end
        layer = (nn.utils.weight_norm if old else weight_norm)(LAYERS[name]())
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def plain_weight(layer: nn.Module) -> Tensor:
    """The weight as the layer itself computes it; the old hook does so in forward only."""
    for hook in layer._forward_pre_hooks.values():
        hook(layer, ())
    assert isinstance(layer.weight, Tensor)
    return layer.weight.detach()


@pytest.mark.parametrize("old", [False, True], ids=["parametrized", "old"])
@pytest.mark.parametrize("name", LAYERS)
def test_folds_as_torch_does(name: str, old: bool) -> None:
    layer = normed(name, old)
    folded = fold_state_dict(layer.state_dict())
    assert set(folded) == {"weight", "bias"}
    torch.testing.assert_close(folded["weight"], plain_weight(layer), rtol=1e-6, atol=1e-7)
    assert torch.equal(folded["bias"], layer.state_dict()["bias"])


def test_the_gain_of_a_transposed_convolution_is_per_input_channel() -> None:
    layer = normed("transposed", old=False)
    gain = layer.state_dict()["parametrizations.weight.original0"]
    assert gain.shape == (3, 1, 1)
    weight = fold_state_dict(layer.state_dict())["weight"]
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), gain.flatten().abs())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    g, v = torch.randn(6, 1, 1).to(dtype), torch.randn(6, 40, 7).to(dtype)
    weight = fold_weight_norm(g, v)
    assert weight.dtype == dtype
    assert torch.equal(weight, fold_weight_norm(g.float(), v.float()).to(dtype))


def test_shapes_must_belong_together() -> None:
    with pytest.raises(ValueError, match=r"one value per row of v \(5, 3, 4\), got shape \(3, 1"):
        fold_weight_norm(torch.ones(3, 1, 1), torch.ones(5, 3, 4))


def keys(prefix: str, old: bool) -> tuple[str, str]:
    names = ("weight_g", "weight_v")
    if not old:
        names = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    return f"{prefix}{names[0]}", f"{prefix}{names[1]}"


def lazy_pair(prefix: str, old: bool) -> dict[str, LazyTensor]:
    g, v = keys(prefix, old)
    return lazy_tensors({g: torch.randn(4, 1, 1), v: torch.randn(4, 2, 3)})


@pytest.mark.parametrize("prefix", ["", "a.", "decoder.block.0.conv_t1."])
@pytest.mark.parametrize("old", [False, True])
def test_takes_the_form_that_the_model_has(prefix: str, old: bool) -> None:
    tensors = lazy_pair(prefix, old)
    g, v = tensors.values()
    plain = match_weight_norm(tensors, {f"{prefix}weight"})
    assert set(plain) == {f"{prefix}weight"}
    assert plain[f"{prefix}weight"].shape == (4, 2, 3)
    assert torch.equal(plain[f"{prefix}weight"].read(), fold_weight_norm(g.read(), v.read()))
    for wanted_old in (False, True):
        wanted = keys(prefix, wanted_old)
        matched = match_weight_norm(tensors, set(wanted))
        assert list(matched) == list(wanted)
        assert [t.read().data_ptr() for t in matched.values()] == [
            g.read().data_ptr(),
            v.read().data_ptr(),
        ]


def test_leaves_alone_what_is_no_pair_or_not_wanted() -> None:
    tensors = lazy_tensors({"a.weight_g": torch.ones(1), "b.weight": torch.ones(1)})
    assert match_weight_norm(tensors) == tensors
    pair = lazy_pair("a.", old=True)
    assert match_weight_norm(pair, {"b.weight"}) == pair


def test_folding_reads_nothing_until_asked() -> None:
    def read() -> Tensor:
        raise AssertionError("read too early")

    g, v = keys("a.", old=True)
    lazy = {
        g: LazyTensor((4, 1), torch.float32, read),
        v: LazyTensor((4, 2), torch.float32, read),
    }
    folded = match_weight_norm(lazy)
    assert folded["a.weight"].shape == (4, 2)
