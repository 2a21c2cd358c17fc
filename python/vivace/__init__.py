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
    from vivace.models.audioldm import AutoencoderKL as AutoencoderKL
    from vivace.models.audioldm import ClapTextModelWithProjection as ClapTextModelWithProjection
    from vivace.models.audioldm import SpeechT5HifiGan as SpeechT5HifiGan
    from vivace.models.audioldm import UNet2DConditionModel as UNet2DConditionModel
    from vivace.models.bark import BarkCausalModel as BarkCausalModel
    from vivace.models.bark import BarkCoarseConfig as BarkCoarseConfig
    from vivace.models.bark import BarkCoarseGenerationConfig as BarkCoarseGenerationConfig
    from vivace.models.bark import BarkCoarseModel as BarkCoarseModel
    from vivace.models.bark import BarkConfig as BarkConfig
    from vivace.models.bark import BarkFineConfig as BarkFineConfig
    from vivace.models.bark import BarkFineGenerationConfig as BarkFineGenerationConfig
    from vivace.models.bark import BarkFineModel as BarkFineModel
    from vivace.models.bark import BarkGenerationConfig as BarkGenerationConfig
    from vivace.models.bark import BarkModel as BarkModel
    from vivace.models.bark import BarkProcessor as BarkProcessor
    from vivace.models.bark import BarkSemanticConfig as BarkSemanticConfig
    from vivace.models.bark import BarkSemanticGenerationConfig as BarkSemanticGenerationConfig
    from vivace.models.bark import BarkSemanticModel as BarkSemanticModel
    from vivace.models.dac import DacConfig as DacConfig
    from vivace.models.dac import DacFeatureExtractor as DacFeatureExtractor
    from vivace.models.dac import DacFile as DacFile
    from vivace.models.dac import DacModel as DacModel
    from vivace.models.encodec import EncodecConfig as EncodecConfig
    from vivace.models.encodec import EncodecFeatureExtractor as EncodecFeatureExtractor
    from vivace.models.encodec import EncodecModel as EncodecModel
    from vivace.ops._packed import forget_packed as forget_packed
    from vivace.ops._packed import packed_bytes as packed_bytes
    from vivace.pipelines import AudioLDMPipeline as AudioLDMPipeline
    from vivace.pipelines import AudioPipelineOutput as AudioPipelineOutput

__version__ = "0.1.0"

_HOME = {
    "backend": "vivace._dispatch",
    "config": "vivace._config",
    "env": "vivace._env",
    "explain": "vivace._env",
    "AudioLDMPipeline": "vivace.pipelines",
    "AudioPipelineOutput": "vivace.pipelines",
    "AutoencoderKL": "vivace.models.audioldm",
    "BarkCausalModel": "vivace.models.bark",
    "BarkCoarseConfig": "vivace.models.bark",
    "BarkCoarseGenerationConfig": "vivace.models.bark",
    "BarkCoarseModel": "vivace.models.bark",
    "BarkConfig": "vivace.models.bark",
    "BarkFineConfig": "vivace.models.bark",
    "BarkFineGenerationConfig": "vivace.models.bark",
    "BarkFineModel": "vivace.models.bark",
    "BarkGenerationConfig": "vivace.models.bark",
    "BarkModel": "vivace.models.bark",
    "BarkProcessor": "vivace.models.bark",
    "BarkSemanticConfig": "vivace.models.bark",
    "BarkSemanticGenerationConfig": "vivace.models.bark",
    "BarkSemanticModel": "vivace.models.bark",
    "ClapTextModelWithProjection": "vivace.models.audioldm",
    "DacConfig": "vivace.models.dac",
    "DacFeatureExtractor": "vivace.models.dac",
    "DacFile": "vivace.models.dac",
    "DacModel": "vivace.models.dac",
    "EncodecConfig": "vivace.models.encodec",
    "EncodecFeatureExtractor": "vivace.models.encodec",
    "EncodecModel": "vivace.models.encodec",
    "forget_packed": "vivace.ops._packed",
    "packed_bytes": "vivace.ops._packed",
    "SpeechT5HifiGan": "vivace.models.audioldm",
    "UNet2DConditionModel": "vivace.models.audioldm",
}
_MODULES = ("audio", "models", "ops", "pipelines", "schedulers")
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
