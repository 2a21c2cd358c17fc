"""Model cases. Every module of this package declares `cases(options, note)`, and may declare
`memory(options, fail)`, which yields the `Memory` rows of calls that run in their own process.

A new model is a new file here, or a folder where a file would be too long.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType

from bench.case import Cases, Options
from bench.record import Memory

_Measure = Callable[[Options, Callable[[str], None]], Iterator[Memory]]


def _modules() -> dict[str, ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"bench.models.{name}") for name in names}


def suites() -> dict[str, Cases]:
    """model -> its cases."""
    return {name: module.cases for name, module in _modules().items()}


def memory(options: Options, fail: Callable[[str], None]) -> Iterator[Memory]:
    """The peak memory of the calls that the models declare."""
    for module in _modules().values():
        measure: _Measure | None = getattr(module, "memory", None)
        if measure is not None:
            yield from measure(options, fail)
