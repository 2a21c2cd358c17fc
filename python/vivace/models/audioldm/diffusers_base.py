"""DiffusersModel: torch modules that load and save themselves as diffusers' models do."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from vivace.hub import Source, open_checkpoint, push_folder, read_json, save_state_dict
from vivace.models.audioldm.diffusers_config import DiffusersConfig
from vivace.models.base import PreTrainedModel
from vivace.models.configuration import CONFIG_NAME, PreTrainedConfig

WEIGHTS_STEM = "diffusion_pytorch_model"

M = TypeVar("M", bound="DiffusersModel")


class DiffusersModel(PreTrainedModel):
    """Base of the models that stand in a folder of a diffusers pipeline.

    A model is made from a configuration or from its fields as keywords. Raises ValueError for a
    value of a field that is not implemented.
    """

    config_class: ClassVar[type[PreTrainedConfig]] = DiffusersConfig
    main_input_name = "sample"

    def __init__(self, config: DiffusersConfig | None = None, **fields: Any) -> None:
        if config is None:
            config = self.config_class(**fields)  # type: ignore[assignment]
        elif fields:
            raise TypeError(
                f"{type(self).__name__}: pass a configuration or its fields, got both: "
                f"{sorted(fields)}"
            )
        super().__init__(config)  # type: ignore[arg-type]
        self.config.check()

    @staticmethod
    def _as_loaded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's state dict with today's names and shapes."""
        return dict(state)

    @classmethod
    def load_config(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> dict[str, Any]:
        """The content of a config.json, for `from_config`; options as `from_pretrained`'s source
        has them (`subfolder`, `revision`, ...). Raises OSError if there is no readable file."""
        return read_json(Source(pretrained_model_name_or_path, **kwargs).get(CONFIG_NAME))

    @classmethod
    def from_config(
        cls: type[M], config: Any, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> M | tuple[M, dict[str, Any]]:
        """A new model with the fields of a configuration or dict, overridden by keywords.

        Keywords that are no field raise TypeError, or are returned with `return_unused_kwargs`.
        """
        options = {name: kwargs.pop(name) for name in cls._init_kwargs if name in kwargs}
        known = {
            key: kwargs.pop(key) for key in list(kwargs) if key in cls.config_class._field_types
        }
        if kwargs and not return_unused_kwargs:
            raise TypeError(
                f"{cls.__name__}.from_config: unknown keyword arguments {sorted(kwargs)}"
            )
        model = cls(cls.config_class.from_dict(dict(config) | known), **options)
        return (model, kwargs) if return_unused_kwargs else model

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls: type[M],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: PreTrainedConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        use_safetensors: bool | None = None,
        subfolder: str | None = "",
        variant: str | None = None,
        proxies: dict[str, str] | None = None,
        dtype: str | torch.dtype | None = None,
        torch_dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> M:
        """The model in a folder (of a pipeline: with `subfolder`) or a repository of the Hub.

        Reads diffusion_pytorch_model.safetensors or `.bin`, whole or in shards, in eval mode.
        dtype: a dtype, torch's default one by default, "auto" for the checkpoint's. The other
        options and errors are `PreTrainedModel.from_pretrained`'s; keywords override fields of the
        configuration.
        """
        source = Source(
            pretrained_model_name_or_path,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            revision=revision,
            subfolder=subfolder,
            proxies=proxies,
        )
        if isinstance(config, Mapping):
            config = cls.config_class(**config)
        fields = cls.config_class._field_types
        overrides = {key: kwargs.pop(key) for key in list(kwargs) if key in fields}
        loaded = cls._load_config(config, source, overrides)
        # Views of the files: nothing is read before it is copied into the model.
        tensors = open_checkpoint(source, variant, use_safetensors, WEIGHTS_STEM)
        state = cls._as_loaded({key: tensor.read() for key, tensor in tensors.items()})
        if dtype is None and torch_dtype is None:
            dtype = torch.get_default_dtype()
        result: Any = super().from_pretrained(
            None, config=loaded, state_dict=state, dtype=dtype, torch_dtype=torch_dtype, **kwargs
        )
        model = result[0] if isinstance(result, tuple) else result
        model.name_or_path = model.config.name_or_path = os.fspath(pretrained_model_name_or_path)
        return result  # type: ignore[no-any-return]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        push_to_hub: bool = False,
        max_shard_size: int | str = "10GB",
        variant: str | None = None,
        token: str | bool | None = None,
        safe_serialization: bool = True,
        **kwargs: Any,
    ) -> None:
        """Writes config.json and the weights into a folder that diffusers can load too.

        Options as `PreTrainedModel.save_pretrained`. Raises OSError if writing fails.
        """
        if not is_main_process:
            return
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        written = save_state_dict(
            self.state_dict() if state_dict is None else state_dict,
            folder,
            max_shard_size=max_shard_size,
            variant=variant,
            safe_serialization=safe_serialization,
            stem=WEIGHTS_STEM,
        )
        self.config.save_pretrained(folder)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", folder.resolve().name)
            push_folder(folder, repo_id, [CONFIG_NAME, *written], token=token, **kwargs)
        elif kwargs:
            raise TypeError(f"save_pretrained: unknown keyword arguments {sorted(kwargs)}")
