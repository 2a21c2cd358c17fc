"""The .npy reader: what np.save writes is read, and no stranger's pickle does anything."""

import io
import os
import pickle
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vivace.models import npy

CONTENT: dict[str, Any] = {
    "codes": np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
    "metadata": {"input_db": np.array([-20.5], np.float32), "channels": 2, "padding": True},
}


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, content, allow_pickle=True)
    return buffer.getvalue()


HEADER = saved({})[:128]


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_equal(found[key], value)
        elif isinstance(value, np.ndarray):
            assert found[key].dtype == value.dtype
            assert np.array_equal(found[key], value)
        else:
            assert type(found[key]) is type(value)
            assert found[key] == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_reads_what_numpy_writes(protocol: int) -> None:
    assert_equal(npy.parse(saved(CONTENT)), CONTENT)
    boxed = np.empty((), object)
    boxed[()] = CONTENT
    assert_equal(npy.parse(HEADER + pickle.dumps(boxed, protocol=protocol)), CONTENT)


def test_reads_the_older_module_name_byte_orders_and_layouts() -> None:
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    content = {
        "big": values.astype(">u2"),
        "fortran": np.asfortranarray(values),
        "empty": values[:0],
        "text": "1.0.0",
        "none": None,
        "large": 2**70,
        "real": 0.5,
    }
    raw = saved(content)
    # numpy 1 called the module numpy.core; both names are written with a length before them.
    older = raw.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    assert older != raw
    for data in (raw, older):
        found = npy.parse(data)
        assert np.array_equal(found.pop("big"), values)
        assert np.array_equal(found.pop("fortran"), values)
        assert found.pop("empty").shape == (0, 3)
        assert found == {"text": "1.0.0", "none": None, "large": 2**70, "real": 0.5}


class Calls:
    """Pickles to a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class Builds(Calls):
    """Pickles to a harmless-looking object whose state is set by BUILD."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.ndarray, ((0,),), {"__setstate__": Calls(self.function, *self.arguments)}


def attacks(marker: Path) -> dict[str, bytes]:
    """Pickles that would create ``marker`` if they were loaded."""
    touch = f"touch {marker}"
    evaluate = f"open({str(marker)!r}, 'w').close()"
    system = Calls(os.system, touch)
    nested = np.empty((2,), object)
    nested[:] = [1, system]
    return {
        "os.system": pickle.dumps(system),
        "eval": pickle.dumps(Calls(eval, evaluate)),
        "exec, protocol 0": pickle.dumps(Calls(exec, evaluate), protocol=0),
        "posix.system by hand": b"cposix\nsystem\n(S" + repr(touch).encode() + b"\ntR.",
        "INST": b"(S" + repr(touch).encode() + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS" + repr(touch).encode() + b"\no.",
        "NEWOBJ": b"\x80\x02cos\nsystem\n(X"
        + struct.pack("<I", len(touch))
        + touch.encode()
        + b"t\x81.",
        "STACK_GLOBAL with a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10f2py.os.system  \x93.",
        "in a value": saved({"codes": system})[128:],
        "in an object array": saved({"codes": nested})[128:],
        "in the metadata": saved({"metadata": {"channels": system}})[128:],
        "by BUILD": saved({"codes": Builds(os.system, touch)})[128:],
        "numpy's own loader": pickle.dumps(Calls(np.load, str(marker), None, True)),
        "getattr": pickle.dumps(Calls(getattr, "", "__class__")),
        "extension registry": b"\x80\x02\x82\x01.",
        "persistent id": b"Pos.system\n.",
    }


def test_attacks_do_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for name, payload in attacks(marker).items():
        with pytest.raises(ValueError, match=r"not allowed|damaged|unexpected|array of objects"):
            npy.parse(HEADER + payload)
        assert not marker.exists(), name
    # The attacks are real: numpy's reader runs the first of them.
    (tmp_path / "attack.npy").write_bytes(HEADER + attacks(marker)["os.system"])
    np.load(tmp_path / "attack.npy", allow_pickle=True)
    assert marker.exists()


class Claims:
    """Pickles like an array of any shape and dtype over any content."""

    def __init__(self, shape: Any, kind: Any, content: Any, fortran: bool = False) -> None:
        self.state = (1, shape, kind, fortran, content)

    def __reduce__(self) -> tuple[Any, ...]:
        return reconstruct, (np.ndarray, (0,), b"b"), self.state


reconstruct = np.zeros(1).__reduce__()[0]


@pytest.mark.parametrize(
    "claim",
    [
        Claims((2**40,), np.dtype("u2"), bytes(14)),
        Claims((2**31, 2**31), np.dtype("u1"), bytes(14)),
        Claims((2**63,), np.dtype("u8"), b""),
        Claims((-1,), np.dtype("u2"), bytes(14)),
        Claims((7.0,), np.dtype("u2"), bytes(14)),
        Claims((True,), np.dtype("u2"), bytes(2)),
        Claims((1,) * 40, np.dtype("u2"), bytes(2)),
        Claims([7], np.dtype("u2"), bytes(14)),
        Claims((6,), np.dtype("u2"), bytes(14)),
        Claims((7,), np.dtype("u2"), "x" * 14),
        Claims((7,), np.dtype("V2"), bytes(14)),
        Claims((7,), np.dtype("U1"), bytes(28)),
        Claims((7,), np.dtype("O"), bytes(56)),
        Claims((2,), np.dtype("O"), [1, 2]),
        Claims((7,), np.dtype("M8[s]"), bytes(56)),
        Claims((1,), np.dtype([("a", "u2")]), bytes(2)),
        Claims((7,), "u2", bytes(14)),
    ],
)
def test_claimed_shapes_and_dtypes(claim: Claims) -> None:
    data = saved({"x": claim})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"shape|dtype|expected|array of objects"):
            npy.parse(data)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_an_honest_claim_is_read() -> None:
    found = npy.parse(saved({"x": Claims((2, 1), np.dtype("u2"), b"\x01\x00\x02\x00")}))
    assert np.array_equal(found["x"], [[1], [2]])


BOMBS = {
    "memo index": b"\x80\x04Nr\xff\xff\xff\xff.",
    "bytes length": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "bytearray length": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.",
    "opcodes": b"\x80\x04" + b"N" * 100_000 + b".",
    "depth": b"\x80\x04)" + b"\x85" * 15_000 + b".",
    "doubling": b"\x80\x04]" + b"\x94h\x00\x86" * 5000 + b".",
    "self": b"\x80\x04]\x94h\x00a.",
    "dict in itself": b"\x80\x04}\x94\x8c\x01kh\x00s.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_stay_small(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"."):
            npy.parse(HEADER + BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "magic"),
        (b"RIFF....WAVE", "magic"),
        (npy.MAGIC, "truncated"),
        (npy.MAGIC + b"\x09\x00" + bytes(50), "version"),
        (npy.MAGIC + b"\x01\x00\xff\xff" + bytes(50), "header"),
        (HEADER, "exhausted|truncated"),
        (saved(np.arange(5)), "no single object"),
        (saved(np.array([1, "x"], object)), "no single object"),
        (saved(5), "no single object"),
        (saved(None), "expected a dict"),
        (HEADER.replace(b"|O", b"|V") + b".", "no single object"),
        (HEADER.replace(b"False", b"1/0  ") + b".", "unreadable"),
        (saved({"a": [1]}), "list"),
        (saved({1: 2}), "expected a str"),
        (saved({"a": {"b": {"c": 1}}}), "dict"),
        (saved({"a": np.float64(1.0)}), "scalar"),
        (saved(CONTENT) + b"x", "follow"),
    ],
)
def test_foreign_content(data: bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        npy.parse(data)


def test_every_truncation_and_random_damage_is_a_value_error() -> None:
    raw = saved(CONTENT)
    for length in range(len(raw)):
        with pytest.raises(ValueError, match=r"."):
            npy.parse(raw[:length])
    generator = random.Random(0)
    survived = 0
    for _ in range(3000):
        data = bytearray(raw)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            npy.parse(bytes(data))
            survived += 1
        except ValueError:
            pass
    assert survived < 2000  # damage to array data and key names is not seen here


ARRAYS = [np.arange(12, dtype=d).reshape(3, 4) for d in ("u1", "<i2", ">u2", "i8", "f4", ">f8")]
ARRAYS += [np.array([True, False]), np.array(7), np.zeros((2, 0, 3), np.int32), ARRAYS[3][:, ::2]]


@pytest.mark.parametrize("array", [*ARRAYS, ARRAYS[3].T])
def test_arrays(array: np.ndarray) -> None:
    found = npy.parse_array(saved(array))
    assert found.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(found, array)
    assert found.flags.owndata
    assert found.flags.c_contiguous


def claims(**fields: Any) -> bytes:
    header = {"descr": "<i8", "fortran_order": False, "shape": (2,), **fields}
    text = str(header).encode()
    return npy.MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text + bytes(16)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (saved(CONTENT), "dtype 'O' is not allowed"),
        (saved(np.array(["a"])), "dtype 'U1' is not allowed"),
        (saved(np.zeros(2, [("a", "i4")])), "is not allowed"),
        (saved(np.zeros(2, complex)), "dtype 'c16' is not allowed"),
        (claims(shape=(1 << 60,)), "has 16 bytes of data"),
        (claims(shape=(-1, -2)), "impossible array shape"),
        (claims(shape=2), "expected a tuple"),
        (claims(descr=3), "dtype '3' is not allowed"),
        (claims(descr=""), "is not allowed"),
        (claims(more=1), "not what np.save writes"),
        (claims() + b"x", "has 17 bytes of data"),
        (b"PK\x03\x04", "magic"),
    ],
)
def test_files_that_hold_no_numbers(data: bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        npy.parse_array(data)
