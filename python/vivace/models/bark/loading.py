"""Loading and saving a whole Bark: its four parts and its generation settings."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from vivace.hub import Source
from vivace.models.bark.generation_config import BarkGenerationConfig
from vivace.models.base import PreTrainedModel
from vivace.models.encodec.checkpoint import normed_weights, split_weight_norm
from vivace.models.generation_config import GENERATION_CONFIG_NAME

B = TypeVar("B", bound="BarkLoading")

_SOURCE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


class BarkLoading(PreTrainedModel):
    """What `BarkModel` adds to `PreTrainedModel`'s loading and saving."""

    generation_config: Any

    @classmethod
    def from_pretrained(
        cls: type[B],
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        quantize: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `PreTrainedModel.from_pretrained`, with the settings of generation_config.json.

        quantize: "int8" rounds the weights that every token reads to 8 bits.
        """
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if pretrained_model_name_or_path is not None:
            options = {key: kwargs[key] for key in _SOURCE if key in kwargs}
            source = Source(pretrained_model_name_or_path, **options)
            if source.find(GENERATION_CONFIG_NAME) is not None:
                model.generation_config = BarkGenerationConfig.from_pretrained(
                    pretrained_model_name_or_path, **options
                )
        if quantize is not None:
            model.quantize(quantize)
        return loaded

    def _save_more(self, folder: Path) -> list[str]:
        BarkGenerationConfig.of(self.generation_config).save_pretrained(folder)
        return [GENERATION_CONFIG_NAME]

    def _tied_keys(self) -> dict[str, str]:
        prefix = "fine_acoustics."
        inner: dict[str, str] = self.fine_acoustics._tied_keys()  # type: ignore[union-attr,operator]
        return {prefix + head: prefix + source for head, source in inner.items()}

    def tie_weights(self) -> None:
        """Ties the heads of the fine stage."""
        self.fine_acoustics.tie_weights()  # type: ignore[union-attr,operator]

    def _as_saved(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        saved = super()._as_saved(state)
        codec: Any = self.codec_model
        return split_weight_norm(saved, normed_weights(codec, "codec_model."))
