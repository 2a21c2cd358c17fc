"""Reads the .npy file that np.save makes of an array, or of a dict of arrays and plain values.

np.save pickles such a dict. Nothing is unpickled here: a small machine interprets the few opcodes
that np.save emits, "constructs" only the three records below, and calls nothing that the file
names. So a stranger's file can run no code, and cannot make us allocate more than its own size.
"""

from __future__ import annotations

import ast
import math
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["MAGIC", "parse", "parse_array"]

MAGIC = b"\x93NUMPY"

_MAX_HEADER_BYTES = 4096
_MAX_OPCODES = 20_000  # np.save needs about 150 for a .dac file
_MAX_DIMENSIONS = 8
_ARRAY_KIND = re.compile(r"[iuf][1248]|b1")
_HEADER_KEYS = {"descr", "fortran_order", "shape"}

_CONSTANTS: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_STRINGS = ("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
_LITERALS = (*_NUMBERS, *_STRINGS, "BYTEARRAY8")
_GLOBALS = {
    f"{module} {name}": name
    for modules, name in (
        (("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct"),
        (("numpy.core.numeric", "numpy._core.numeric"), "_frombuffer"),
        (("numpy",), "ndarray"),
        (("numpy",), "dtype"),
    )
    for module in modules
}


@dataclass(frozen=True)
class _Global:
    """A name that the file mentions; it stands for no Python object."""

    name: str


@dataclass
class _Dtype:
    kind: str  # "u2", "f4", "O8", ...
    order: str = "="


@dataclass(eq=False)
class _Array:
    value: Any = None


class _Mark:
    """Where a group of arguments starts on the stack."""


_MARK = _Mark()


def parse(data: bytes) -> dict[str, Any]:
    """The dict in the bytes of a .npy file: str keys; arrays, plain values or such dicts as values.

    Raises ValueError saying what is wrong with a file of any other content.
    """
    try:
        root = _run(_payload(data))
        return _plain_dict(root.value if isinstance(root, _Array) else root, depth=2)
    except (
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise ValueError(f"damaged pickle ({type(error).__name__}: {error})") from error


def parse_array(data: bytes) -> np.ndarray:
    """The array of numbers in the bytes of a .npy file.

    Raises ValueError saying what is wrong with a file of any other content.
    """
    header, content = _header(data)
    descr = header["descr"]
    if not isinstance(descr, str) or descr[:1] not in tuple("<>|="):
        raise ValueError(f"an array of dtype {str(descr)[:20]!r} is not allowed")
    return _numeric(
        _Dtype(descr[1:], descr[0]), header["shape"], header["fortran_order"] is True, content
    )


def _payload(data: bytes) -> bytes:
    """What follows the .npy header, which must announce one Python object."""
    header, content = _header(data)
    if header != {"descr": "|O", "fortran_order": False, "shape": ()}:
        raise ValueError(f"the .npy file holds no single object: {str(header)[:100]}")
    return content


def _header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The .npy header and what follows it."""
    if data[:6] != MAGIC:
        raise ValueError("not a .npy file: the magic bytes are missing")
    if len(data) < 12:
        raise ValueError("truncated .npy header")
    if data[6] not in (1, 2, 3):
        raise ValueError(f"unknown .npy version {data[6]}.{data[7]}")
    start = 10 if data[6] == 1 else 12
    length = int.from_bytes(data[8:start], "little")
    if length > _MAX_HEADER_BYTES or start + length > len(data):
        raise ValueError(f"truncated or oversized .npy header ({length} bytes)")
    try:
        header = ast.literal_eval(data[start : start + length].decode("latin-1").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("unreadable .npy header") from error
    if not isinstance(header, dict) or header.keys() != _HEADER_KEYS:
        raise ValueError(f"the .npy header is not what np.save writes: {str(header)[:100]}")
    return header, data[start + length :]


def _run(payload: bytes) -> Any:
    """Interprets the opcodes and returns what is on top of the stack at STOP."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    operations: Iterator[tuple[Any, Any, Any]] = pickletools.genops(payload)
    for count, (opcode, argument, position) in enumerate(operations):
        if count >= _MAX_OPCODES:
            raise ValueError(f"more than {_MAX_OPCODES} pickle opcodes")
        name = opcode.name
        if name == "STOP":
            if position + 1 != len(payload):
                raise ValueError("bytes follow the end of the pickle")
            return stack.pop()
        if name in ("PROTO", "FRAME"):
            continue
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            _step(name, argument, stack)
    raise ValueError("truncated pickle")


def _step(name: str, argument: Any, stack: list[Any]) -> None:
    """One opcode that builds something out of the top of the stack."""
    match name:
        case "MARK":
            stack.append(_MARK)
        case "EMPTY_LIST":
            stack.append([])
        case "EMPTY_DICT":
            stack.append({})
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            count = int(name[-1])
            items = [stack.pop() for _ in range(count)]
            stack.append(tuple(reversed(items)))
        case "TUPLE":
            stack.append(tuple(_pop_to_mark(stack)))
        case "APPEND" | "APPENDS":
            values = [stack.pop()] if name == "APPEND" else _pop_to_mark(stack)
            _expect(stack[-1], list).extend(values)
        case "SETITEM" | "SETITEMS":
            pairs = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _pop_to_mark(stack)
            target = _expect(stack[-1], dict)
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                target[_expect(key, str)] = value
        case "GLOBAL":
            stack.append(_global(argument))
        case "STACK_GLOBAL":
            attribute, module = _expect(stack.pop(), str), _expect(stack.pop(), str)
            stack.append(_global(f"{module} {attribute}"))
        case "REDUCE":
            arguments = _expect(stack.pop(), tuple)
            stack.append(_construct(_expect(stack.pop(), _Global).name, arguments))
        case "BUILD":
            state = _expect(stack.pop(), tuple)
            _set_state(stack[-1], state)
        case _:
            raise ValueError(f"pickle opcode {name} is not allowed")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    items.reverse()
    return items


def _global(name: str) -> _Global:
    if name not in _GLOBALS:
        raise ValueError(f"the pickle names {name.replace(' ', '.')}, which is not allowed")
    return _Global(_GLOBALS[name])


def _construct(name: str, arguments: tuple[Any, ...]) -> _Array | _Dtype:
    if name == "_reconstruct" and arguments == (_Global("ndarray"), (0,), b"b"):
        return _Array()
    if name == "dtype" and len(arguments) == 3:
        return _Dtype(_expect(arguments[0], str))
    if name == "_frombuffer" and len(arguments) == 4:
        buffer, dtype, shape, order = arguments
        return _Array(_numeric(_expect(dtype, _Dtype), shape, order == "F", buffer))
    raise ValueError(f"the pickle calls numpy's {name} with unexpected arguments")


def _set_state(target: Any, state: tuple[Any, ...]) -> None:
    if isinstance(target, _Dtype):
        plain = len(state) == 8 and state[2:5] == (None, None, None)
        if not plain or state[1] not in ("<", ">", "|", "="):
            raise ValueError("the pickle holds a structured or unknown dtype")
        target.order = state[1]
        return
    _, shape, dtype, fortran, content = state
    array, dtype = _expect(target, _Array), _expect(dtype, _Dtype)
    if array.value is not None:
        raise ValueError("the pickle fills an array twice")
    if not dtype.kind.startswith("O"):
        array.value = _numeric(dtype, shape, fortran is True, content)
    elif shape == () and isinstance(content, list) and len(content) == 1:
        array.value = content[0]
    else:
        raise ValueError("the pickle holds an array of objects")


def _numeric(dtype: _Dtype, shape: Any, fortran: bool, content: Any) -> np.ndarray:
    """An array over a copy of ``content``, whose size must be what the shape says."""
    if not _ARRAY_KIND.fullmatch(dtype.kind) or not isinstance(content, bytes | bytearray):
        raise ValueError(f"an array of dtype {dtype.kind[:20]!r} is not allowed")
    sizes = _expect(shape, tuple)
    if len(sizes) > _MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError(f"impossible array shape {str(sizes)[:100]}")
    stored = np.dtype(dtype.order + dtype.kind)
    if math.prod(sizes) * stored.itemsize != len(content):
        raise ValueError(f"an array of shape {str(sizes)[:100]} has {len(content)} bytes of data")
    values = np.frombuffer(content, stored).reshape(sizes, order="F" if fortran else "C")
    return np.array(values, dtype=stored.newbyteorder("="), order="C")


def _plain_dict(value: Any, depth: int) -> dict[str, Any]:
    """Replaces the array records by arrays; lets through plain values only."""
    result: dict[str, Any] = {}
    for key, item in _expect(value, dict).items():
        if isinstance(item, _Array):
            item = _expect(item.value, np.ndarray)
        elif isinstance(item, dict) and depth > 1:
            item = _plain_dict(item, depth - 1)
        elif not isinstance(item, bool | int | float | str | None):
            raise ValueError(f"entry {str(key)[:40]!r} is a {type(item).__name__.strip('_')}")
        result[key] = item
    return result


def _expect(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        expected, got = kind.__name__.strip("_"), type(value).__name__.strip("_")
        raise ValueError(f"damaged pickle: expected a {expected}, got a {got}")
    return value
