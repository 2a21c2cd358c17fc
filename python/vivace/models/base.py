"""PreTrainedModel: torch modules that load and save themselves as transformers' models do."""

import copy
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from vivace.hub import (
    Source,
    fold_state_dict,
    lazy_tensors,
    open_checkpoint,
    push_folder,
    save_state_dict,
)
from vivace.models import loading
from vivace.models.configuration import CONFIG_NAME
from vivace.models.configuration import PreTrainedConfig as PreTrainedConfig
from vivace.models.validation import (
    StrictDataclassFieldValidationError as StrictDataclassFieldValidationError,
)

logger = logging.getLogger(__name__)

M = TypeVar("M", bound="PreTrainedModel")

# Options of transformers' from_pretrained that change nothing here: models are loaded once, to one
# device, without a second copy.
_WITHOUT_EFFECT = (
    "low_cpu_mem_usage",
    "max_memory",
    "offload_folder",
    "offload_buffers",
    "offload_state_dict",
    "disable_mmap",
    "attn_implementation",
    "trust_remote_code",
    "_from_auto",
    "_from_pipeline",
    "_commit_hash",
    "_fast_init",
)


class PreTrainedModel(nn.Module):
    """Base of the models. A subclass sets `config_class`, takes the configuration as the first
    argument of `__init__` and calls `self.post_init()` at its end.

    `_computed_keys` is a pattern of keys that a checkpoint may hold, or lack, without a word: they
    follow from others. `_tied_keys` maps keys to the ones whose parameter they share: they are not
    saved, and a subclass ties them again in `tie_weights`.

    `_init_kwargs` names the keyword arguments of `from_pretrained` that go to `__init__`. An
    instance sets `_unloaded_prefixes` to the key prefixes of a checkpoint that it has no use for;
    they are neither read nor reported.
    """

    config_class: ClassVar[type[PreTrainedConfig]] = PreTrainedConfig
    base_model_prefix: ClassVar[str] = ""
    main_input_name: ClassVar[str] = "input_ids"
    _init_kwargs: ClassVar[tuple[str, ...]] = ()
    _computed_keys: ClassVar[str] = ""
    _unloaded_prefixes: tuple[str, ...] = ()

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        if not isinstance(config, PreTrainedConfig):
            name = type(self).__name__
            raise ValueError(
                f"Parameter config in `{name}(config)` should be an instance of class "
                f"`PreTrainedConfig`, got {type(config).__name__}. To load a pretrained model use "
                f"`{name}.from_pretrained(name_or_path)`."
            )
        self.config: Any = config
        self.name_or_path = config.name_or_path

    def post_init(self) -> None:
        """Initialises the weights, unless a checkpoint is about to fill them."""
        if loading.initialises_weights():
            self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialises the parameters of one submodule; torch's own initialisation by default."""

    def tie_weights(self) -> None:
        """Makes parameters that are one and the same share their memory again; none by default."""

    def _tied_keys(self) -> dict[str, str]:
        return {}

    def _as_saved(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict as a checkpoint holds it: weight norm folded, nothing that is tied."""
        tied = self._tied_keys()
        return {key: value for key, value in fold_state_dict(state).items() if key not in tied}

    @property
    def device(self) -> torch.device:
        """The device of the first parameter."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating point parameter."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """The number of values in the parameters."""
        excluded: set[int] = set()
        if exclude_embeddings:
            excluded = {id(m.weight) for m in self.modules() if isinstance(m, nn.Embedding)}
        return sum(
            p.numel()
            for p in self.parameters()
            if id(p) not in excluded and (p.requires_grad or not only_trainable)
        )

    def _save_more(self, folder: Path) -> list[str]:
        """Writes the files that a model has beside its weights; returns their names."""
        return []

    @classmethod
    def from_pretrained(
        cls: type[M],
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        config: PreTrainedConfig | str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        ignore_mismatched_sizes: bool = False,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        use_safetensors: bool | None = None,
        weights_only: bool = True,
        subfolder: str = "",
        variant: str | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
        output_loading_info: bool = False,
        proxies: dict[str, str] | None = None,
        dtype: str | torch.dtype | None = None,
        torch_dtype: str | torch.dtype | None = None,
        device_map: Any = None,
        key_mapping: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> M:
        """The model in a folder or a repository of the Hub, in eval mode; options as transformers'.

        dtype: "auto" (the default: config.json's, else the checkpoint's) or a dtype. device_map:
        one device, "auto" or {"": device}. None as the name needs `config` and `state_dict`. With
        `output_loading_info` the result is (model, info). Other keywords override attributes of the
        configuration. Raises OSError (nothing there, damaged), ValueError (a wrong option, file or
        configuration), RuntimeError (sizes differ), TypeError (an unknown keyword).
        """
        for name in _WITHOUT_EFFECT:
            kwargs.pop(name, None)
        if not weights_only:
            logger.warning("`weights_only=False` has no effect: only tensors are ever unpickled.")
        name_or_path = pretrained_model_name_or_path
        if state_dict is not None and name_or_path is not None:
            raise ValueError("`state_dict` cannot be passed together with a model name.")
        if name_or_path is None and (config is None or state_dict is None):
            raise ValueError("from_pretrained: without a model name, pass config and state_dict")
        device = loading.resolve_device(device_map)
        source = Source(
            "" if name_or_path is None else name_or_path,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            revision=revision,
            subfolder=subfolder,
            proxies=proxies,
        )
        init_kwargs = {name: kwargs.pop(name) for name in cls._init_kwargs if name in kwargs}
        loaded = cls._load_config(config, source, kwargs)
        if state_dict is None:
            tensors = open_checkpoint(source, variant, use_safetensors)
        else:
            tensors = lazy_tensors(state_dict)
        dtype = torch_dtype if dtype is None else dtype
        loaded.dtype = loading.resolve_dtype(dtype, loaded.dtype, tensors)
        loaded.name_or_path = "" if name_or_path is None else os.fspath(name_or_path)
        loaded.architectures = loaded.architectures or [cls.__name__]

        with loading.building_for_load():
            model = cls(loaded, **init_kwargs)
        match = loading.match_keys(
            tensors,
            model,
            base_model_prefix=cls.base_model_prefix,
            unloaded_prefixes=model._unloaded_prefixes,
            computed_keys=cls._computed_keys,
            tied_keys=model._tied_keys(),
            key_mapping=key_mapping,
        )
        loading.report(match, model, loaded.name_or_path or "state_dict", ignore_mismatched_sizes)
        weights = loading.read_weights(match.found, model, loaded.dtype, device)
        if match.fresh():
            # Rare, so the plain way: a second, initialised model gives what the checkpoint lacks.
            initialised = lazy_tensors(cls(loaded, **init_kwargs).state_dict())
            fresh = {key: initialised[key] for key in match.fresh()}
            weights |= loading.read_weights(fresh, model, loaded.dtype, device)
        model.load_state_dict(weights, assign=True)
        model.tie_weights()
        # Buffers that are no part of the checkpoint.
        model.to(device=device, dtype=loaded.dtype)
        model.eval()
        return (model, match.info()) if output_loading_info else model  # type: ignore[return-value]

    @classmethod
    def _load_config(
        cls,
        config: PreTrainedConfig | str | os.PathLike[str] | None,
        source: Source,
        kwargs: dict[str, Any],
    ) -> Any:
        """The configuration given, or that of a source, with `kwargs` set in it."""
        if isinstance(config, PreTrainedConfig):
            loaded = copy.deepcopy(config)
        else:
            source = source if config is None else replace(source, name=config)
            loaded = cls.config_class.from_source(source)
        unknown = sorted(key for key in kwargs if not hasattr(loaded, key))
        if unknown:
            raise TypeError(f"{cls.__name__}.from_pretrained: unknown keyword arguments {unknown}")
        loaded.update(kwargs)
        return loaded

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        push_to_hub: bool = False,
        max_shard_size: int | str = "50GB",
        variant: str | None = None,
        token: str | bool | None = None,
        safe_serialization: bool = True,
        **kwargs: Any,
    ) -> None:
        """Writes config.json and the weights into a folder that transformers can load too.

        Weight norm is folded. Beyond `max_shard_size` (bytes or "5GB") the weights are split.
        `push_to_hub` uploads the files to `repo_id` (default: the folder's name); the other
        keywords are those of `push_to_hub`. Raises OSError if writing fails.
        """
        if not is_main_process:
            return
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.architectures = [type(self).__name__]
        self.config.dtype = self.dtype
        written = save_state_dict(
            self._as_saved(self.state_dict() if state_dict is None else state_dict),
            folder,
            max_shard_size=max_shard_size,
            variant=variant,
            safe_serialization=safe_serialization,
        )
        self.config.save_pretrained(folder)
        written += self._save_more(folder)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", folder.resolve().name)
            push_folder(folder, repo_id, [CONFIG_NAME, *written], token=token, **kwargs)
        elif kwargs:
            raise TypeError(f"save_pretrained: unknown keyword arguments {sorted(kwargs)}")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str = "50GB",
        variant: str | None = None,
        safe_serialization: bool = True,
    ) -> str:
        """Saves the model and uploads it to a repository of the Hub, made if missing.

        Returns the address of the commit.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(
                folder,
                max_shard_size=max_shard_size,
                variant=variant,
                safe_serialization=safe_serialization,
            )
            return push_folder(
                folder,
                repo_id,
                sorted(os.listdir(folder)),
                token=token,
                private=private,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                commit_description=commit_description,
                revision=revision,
                create_pr=create_pr,
            )
