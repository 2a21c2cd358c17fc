"""vivace: fast inference for audio generation.

Names are loaded at first use, so that `import vivace` and the command line start at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vivace import audio as audio
    from vivace._config import config as config
    from vivace._dispatch import backend as backend
    from vivace._env import env as env
    from vivace._env import explain as explain
    from vivace.models.dac import DacConfig as DacConfig
    from vivace.models.dac import DacFeatureExtractor as DacFeatureExtractor
    from vivace.models.dac import DacFile as DacFile
    from vivace.models.dac import DacModel as DacModel
    from vivace.ops._packed import forget_packed as forget_packed
    from vivace.ops._packed import packed_bytes as packed_bytes

__version__ = "0.1.0"

_HOME = {
    "backend": "vivace._dispatch",
    "config": "vivace._config",
    "env": "vivace._env",
    "explain": "vivace._env",
    "DacConfig": "vivace.models.dac",
    "DacFeatureExtractor": "vivace.models.dac",
    "DacFile": "vivace.models.dac",
    "DacModel": "vivace.models.dac",
    "forget_packed": "vivace.ops._packed",
    "packed_bytes": "vivace.ops._packed",
}
_MODULES = ("audio", "models", "ops")
__all__ = [*sorted(_HOME), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"vivace.{name}")
    raise AttributeError(f"module 'vivace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
