"""Packed weights: made once, again after every change, counted, and gone with their model."""

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

import vivace
from vivace import _dispatch
from vivace.ops._packed import _entries, packed
from vivace.ops.conv1d import conv1d


def pack(weight: nn.Parameter, made: list[int]) -> Tensor:
    def make() -> Tensor:
        made.append(1)
        return weight.detach().clone()

    return packed((weight,), ("test",), make)


def test_made_once_and_again_after_every_change() -> None:
    layer, made = nn.Linear(3, 5, bias=False), []
    pack(layer.weight, made)
    pack(layer.weight, made)
    assert len(made) == 1
    with torch.no_grad():
        layer.weight.mul_(2)
    assert torch.equal(pack(layer.weight, made), layer.weight)
    layer.load_state_dict({"weight": torch.ones(5, 3)})
    assert torch.equal(pack(layer.weight, made), torch.ones(5, 3))
    layer.to(torch.float64)
    assert pack(layer.weight, made).dtype == torch.float64
    layer.weight.data = torch.zeros(5, 3)
    assert not pack(layer.weight, made).any()
    assert len(made) == 5


def test_a_new_storage_at_an_old_address() -> None:
    """As offloading swaps weights: the second allocation often lies where the first one was."""
    layer, made = nn.Linear(64, 64, bias=False), []
    for i in range(50):
        layer.weight.data = torch.empty(0)
        layer.weight.data = torch.full((64, 64), float(i))
        assert torch.equal(pack(layer.weight, made), layer.weight)


def test_another_view_of_the_same_storage() -> None:
    layer, made = nn.Linear(4, 4, bias=False), []
    pack(layer.weight, made)
    layer.weight.data = layer.weight.data.T
    assert torch.equal(pack(layer.weight, made), layer.weight)


def test_forgotten_when_asked() -> None:
    """What torch keeps no trace of."""
    layer, made = nn.Linear(4, 4, bias=False), []
    pack(layer.weight, made)
    layer.weight.data.copy_(torch.ones(4, 4))
    vivace.forget_packed(layer)
    assert vivace.packed_bytes(layer) == 0
    assert torch.equal(pack(layer.weight, made), torch.ones(4, 4))


def test_counted_and_not_copied_with_the_model() -> None:
    layer = nn.Linear(3, 5, bias=False)
    assert vivace.packed_bytes(layer) == 0
    pack(layer.weight, [])
    assert vivace.packed_bytes(layer) == 5 * 3 * 4
    assert vivace.packed_bytes(copy.deepcopy(layer)) == 0
    assert set(layer.state_dict()) == {"weight"}


def test_released_with_the_model() -> None:
    layer = nn.Linear(3, 5, bias=False)
    held = weakref.ref(pack(layer.weight, []))
    gc.collect()  # what other tests left behind
    entries = len(_entries)
    del layer
    gc.collect()
    assert held() is None
    assert len(_entries) == entries - 1


def test_the_kernels_of_this_machine_pack() -> None:
    module = _dispatch.load("cpu")
    assert module is not None, "every build has vivace._cpu"
    if module.active_isa() == "generic":
        pytest.skip("this CPU has not even AVX2: torch runs, and packs nothing")
    layer = nn.Conv1d(48, 40, 7)
    x = torch.randn(1, 20, 48)
    with torch.no_grad(), vivace.backend("cpu"):
        conv1d(x, layer.weight, layer.bias)
        # Whole blocks of 32 columns, float32; biases are read where they are.
        assert vivace.packed_bytes(layer) == 64 * 48 * 7 * 4
        torch.set_float32_matmul_precision("medium")
        try:
            conv1d(x, layer.weight, layer.bias)
        finally:
            torch.set_float32_matmul_precision("highest")
    expected = 64 * 48 * 7 * 4 + (64 * 64 * 7 * 2 if module.active_isa() == "amx" else 0)
    assert vivace.packed_bytes(layer) == expected
