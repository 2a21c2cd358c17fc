"""ModelOutput behaves as transformers' class of that name; Deferred fields wait for an access."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from transformers.utils import ModelOutput as OracleOutput

from vivace.models.outputs import Deferred, ModelOutput


@dataclass
class Triple(ModelOutput):
    a: Any = None
    b: Any = None
    c: Any = None


@dataclass
class OracleTriple(OracleOutput):
    a: Any = None
    b: Any = None
    c: Any = None


class Counter:
    """A computation that counts how often it runs."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> torch.Tensor:
        self.calls += 1
        return torch.arange(3.0)


FIELDS = [{}, {"a": 1}, {"b": 2}, {"a": 1, "c": 3}, {"a": 1, "b": 2, "c": 3}]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_reads_as_transformers(fields: dict[str, int]) -> None:
    ours, oracle = Triple(**fields), OracleTriple(**fields)
    assert ours.to_tuple() == oracle.to_tuple()
    assert list(ours) == list(oracle)
    assert len(ours) == len(oracle)
    assert list(ours.items()) == list(oracle.items())
    assert list(ours.values()) == list(oracle.values())
    assert dict(ours) == dict(oracle) == {**ours}
    assert repr(ours) == repr(oracle).replace("OracleTriple", "Triple")
    for key in ("a", "b", "c"):
        assert getattr(ours, key) == getattr(oracle, key)
        assert ours.get(key, 7) == (7 if fields.get(key) is None else fields[key])
    for index in (0, -1, slice(None), slice(1, None), slice(0, 2)):
        try:
            expected = oracle[index]
        except IndexError:
            with pytest.raises(IndexError):
                ours[index]
        else:
            assert ours[index] == expected


def test_missing_keys() -> None:
    output = Triple(a=1)
    with pytest.raises(KeyError):
        output["b"]
    with pytest.raises(KeyError):
        output["z"]
    with pytest.raises(AttributeError):
        output.z  # noqa: B018


@pytest.mark.parametrize(
    "first", [{"a": 1, "c": 2}, [("a", 1), ("b", 2)], [1, 2], "text", (3, 4)], ids=str
)
def test_first_field_may_hold_pairs(first: Any) -> None:
    ours, oracle = Triple(first), OracleTriple(first)
    assert list(ours.items()) == list(oracle.items())
    assert ours.a == oracle.a


def test_made_from_a_generator_of_pairs() -> None:
    assert Triple((key, i) for i, key in enumerate("abc")).to_tuple() == (0, 1, 2)


def test_setting_by_attribute_and_key() -> None:
    output = Triple(a=1)
    output.b = 5
    assert output["b"] == 5
    output["c"] = 6
    assert output.c == 6
    assert output.to_tuple() == (1, 5, 6)


@pytest.mark.parametrize(
    "change",
    [
        lambda o: o.pop("a"),
        lambda o: o.popitem(),
        lambda o: o.update(a=2),
        lambda o: o.setdefault("b", 2),
        lambda o: o.__delitem__("a"),
    ],
)
def test_fields_cannot_be_taken_away(change: Callable[[Triple], Any]) -> None:
    output = Triple(a=1)
    with pytest.raises(TypeError, match="Triple does not allow"):
        change(output)
    assert output.to_tuple() == (1,)


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]
)
@pytest.mark.parametrize("deferred", [False, True])
def test_copies(clone: Callable[[Triple], Triple], deferred: bool) -> None:
    value = torch.randn(3)
    output = Triple(b=Deferred(lambda: value) if deferred else value)
    output["extra"] = "kept"
    copied = clone(output)
    assert type(copied) is Triple
    assert copied.a is None
    assert torch.equal(copied.b, value)
    assert copied.extra == "kept"
    assert list(copied) == list(output)


def test_is_a_pytree() -> None:
    output = Triple(a=torch.ones(2), c=torch.ones(3))
    doubled = pytree.tree_map(lambda x: 2 * x, output)
    assert type(doubled) is Triple
    assert torch.equal(doubled.a, torch.full((2,), 2.0))
    assert doubled.b is None


@pytest.mark.parametrize(
    "access",
    [
        lambda o: o.b,
        lambda o: o["b"],
        lambda o: o[1],
        lambda o: o[-1],
        lambda o: o[1:],
        lambda o: o.to_tuple(),
        lambda o: list(o.values()),
        lambda o: dict(o),
        lambda o: o.get("b"),
    ],
)
def test_deferred_is_computed_once_by_the_first_access(access: Callable[[Triple], Any]) -> None:
    counter = Counter()
    output = Triple(a=1, b=Deferred(counter))
    access(output)
    access(output)
    assert counter.calls == 1
    assert torch.equal(output.b, torch.arange(3.0))


def test_deferred_is_left_alone_by_everything_else() -> None:
    counter = Counter()
    output = Triple(a=1, b=Deferred(counter), c=3)
    assert repr(output) == "Triple(a=1, b=<deferred>, c=3)"
    assert list(output) == ["a", "b", "c"]
    assert len(output) == 3
    assert "b" in output
    assert (output[0], output[2], output["c"], output[::2]) == (1, 3, 3, (1, 3))
    assert counter.calls == 0


def test_deferred_lets_go_of_its_closure() -> None:
    deferred = Deferred(Counter())
    assert repr(deferred) == "<deferred>"
    assert deferred.value() is deferred.value()
    assert repr(deferred) == repr(torch.arange(3.0))
    assert deferred._compute is None


def test_a_failing_computation_raises_each_time() -> None:
    def fail() -> None:
        raise RuntimeError("no memory")

    output = Triple(a=Deferred(fail))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no memory"):
            output.a  # noqa: B018
