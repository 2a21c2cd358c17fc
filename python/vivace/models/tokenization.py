"""PreTrainedTokenizer: text -> ids by the `tokenizers` library, with the files of transformers.

A subclass names its kind of model and its special tokens, and builds a tokenizer from the files of
its vocabulary where there is no tokenizer.json.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from tokenizers import AddedToken, Encoding, Tokenizer

from vivace._files import atomic_path
from vivace.hub import Source, read_json, write_json
from vivace.models.batch_feature import BatchFeature

TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"

_NO_LIMIT = int(1e30)  # what transformers writes for a tokenizer without a model_max_length
_PADDING = {True: "longest", False: "do_not_pad", None: "do_not_pad"}
_TRUNCATION = {True: "longest_first", False: "do_not_truncate", None: "do_not_truncate"}
_FLAGS = ("lstrip", "rstrip", "normalized", "single_word")

T = TypeVar("T", bound="PreTrainedTokenizer")


class PreTrainedTokenizer:
    """Text -> ids, for one text or a batch; `<name>_token` and `<name>_token_id` are attributes.

    backend: a `tokenizers.Tokenizer` with a model of the class `model_kind`; it is never changed
    afterwards, so one tokenizer serves several threads. config: the content of
    tokenizer_config.json; its options win over the backend's, as in transformers. Raises ValueError
    for another kind of model, or if one of the `required_tokens` is unknown to the backend.
    """

    padding_side = "right"

    model_kind: ClassVar[type]
    # Name -> the token where the configuration names none.
    special_token_defaults: ClassVar[dict[str, str]] = {}
    required_tokens: ClassVar[tuple[str, ...]] = ()
    # Further options of tokenizer_config.json.
    option_names: ClassVar[tuple[str, ...]] = ()
    # The files that hold the vocabulary where there is no tokenizer.json.
    vocab_names: ClassVar[tuple[str, ...]] = ()

    pad_token: str
    pad_token_id: int
    unk_token: str
    unk_token_id: int
    cls_token: str
    cls_token_id: int
    sep_token: str
    sep_token_id: int
    mask_token: str
    mask_token_id: int

    def __init__(self, backend: Tokenizer, config: Mapping[str, Any] | None = None) -> None:
        if not isinstance(backend.model, self.model_kind):
            raise ValueError(
                f"{type(self).__name__}: expected a {self.model_kind.__name__} model, "
                f"got {type(backend.model).__name__}"
            )
        config = {} if config is None else config
        backend.no_padding()
        backend.no_truncation()
        self._set_options(backend, config)
        self.special_tokens = self._special_tokens(config)
        for name, number in self._add_special_tokens(backend, config).items():
            setattr(self, name, self.special_tokens[name])
            setattr(self, f"{name}_id", number)
        self.model_max_length = int(config.get("model_max_length") or _NO_LIMIT)
        self.backend_tokenizer = backend

    @classmethod
    def _from_vocab_files(cls: type[T], paths: Sequence[Path], config: Mapping[str, Any]) -> T:
        """The tokenizer of the files `vocab_names`."""
        raise NotImplementedError

    def _set_options(self, backend: Tokenizer, config: Mapping[str, Any]) -> None:
        """Applies the options of `config` to a backend."""

    def _options(self) -> dict[str, Any]:
        """The options as tokenizer_config.json holds them."""
        return {}

    @classmethod
    def _special_tokens(cls, config: Mapping[str, Any]) -> dict[str, str]:
        tokens = {}
        for name, default in cls.special_token_defaults.items():
            value = config.get(name) or default
            tokens[name] = value["content"] if isinstance(value, Mapping) else str(value)
        return tokens

    @classmethod
    def _add_special_tokens(cls, backend: Tokenizer, config: Mapping[str, Any]) -> dict[str, int]:
        """Makes the special tokens known to the backend, which keeps them whole; their ids."""
        tokens = cls._special_tokens(config)
        for name in cls.required_tokens:
            if backend.token_to_id(tokens[name]) is None:
                raise ValueError(f"{cls.__name__}: the vocabulary lacks {tokens[name]} ({name})")
        known = {token.content for token in backend.get_added_tokens_decoder().values()}
        for name, token in tokens.items():
            given = config.get(name)
            if isinstance(given, Mapping):
                flags = {flag: bool(given[flag]) for flag in _FLAGS if flag in given}
                backend.add_special_tokens([AddedToken(token, **{"normalized": False, **flags})])
            elif token not in known:
                backend.add_special_tokens([token])
            known.add(token)
        ids = {name: backend.token_to_id(token) for name, token in tokens.items()}
        return {name: number for name, number in ids.items() if number is not None}

    @classmethod
    def from_pretrained(
        cls: type[T],
        pretrained_model_name_or_path: str | os.PathLike[str] | Source,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str = "main",
        subfolder: str = "",
        **config: Any,
    ) -> T:
        """The tokenizer in a folder or a repository of the Hub: tokenizer.json, else a vocabulary.

        `config` overrides tokenizer_config.json: `option_names`, model_max_length and the special
        tokens. Raises OSError (nothing there, damaged), TypeError (an unknown keyword).
        """
        known = {*cls.option_names, *cls.special_token_defaults, "model_max_length"}
        unknown = sorted(set(config) - known)
        if unknown:
            raise TypeError(f"{cls.__name__}.from_pretrained: unknown keyword arguments {unknown}")
        if isinstance(pretrained_model_name_or_path, Source):
            source = pretrained_model_name_or_path
        else:
            source = Source(
                pretrained_model_name_or_path,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                revision=revision,
                subfolder=subfolder,
            )
        config = {**cls._stored_config(source), **config}
        path = source.find(TOKENIZER_NAME)
        if path is not None:
            try:
                backend = Tokenizer.from_file(os.fspath(path))
            except Exception as error:  # tokenizers raises nothing more specific
                raise OSError(f"the file {path} is not a valid tokenizer: {error}") from error
            return cls(backend, config)
        found = [(name, source.find(name)) for name in cls.vocab_names]
        missing = [name for name, path in found if path is None]
        if missing:
            names = " and no ".join((TOKENIZER_NAME, *missing))
            raise OSError(f"{source.describe()} has no {names}")
        return cls._from_vocab_files([path for _, path in found if path is not None], config)

    @classmethod
    def _stored_config(cls, source: Source) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
        path = source.find(TOKENIZER_CONFIG_NAME)
        return dict(read_json(path)) if path is not None else {}

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> tuple[str, ...]:
        """Writes tokenizer.json and tokenizer_config.json, which transformers loads too; returns
        their paths."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / TOKENIZER_NAME) as temporary:
            self.backend_tokenizer.save(os.fspath(temporary))
        config = {
            **self.special_tokens,
            **self._options(),
            "model_max_length": self.model_max_length,
            "tokenizer_class": type(self).__name__,
        }
        write_json(folder / TOKENIZER_CONFIG_NAME, config)
        return tuple(os.fspath(folder / n) for n in (TOKENIZER_CONFIG_NAME, TOKENIZER_NAME))

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool = True,
        return_token_type_ids: bool = False,
    ) -> BatchFeature:
        """The entries input_ids (B, T), attention_mask, token_type_ids; B rows for a list of texts.

        Without `return_tensors` ("pt" or "np") they are lists, of ids only for a single text.
        padding: True or "longest", "max_length", False or "do_not_pad". truncation: True,
        "longest_first" or "only_first" cut at `max_length` (default: model_max_length), special
        tokens included. Raises ValueError for wrong options, TypeError for a text that is no str.
        """
        texts = [text] if isinstance(text, str) else list(text)
        for item in texts:
            if not isinstance(item, str):
                raise TypeError(
                    f"{type(self).__name__}: text must be a str or a list of str, "
                    f"got {type(item).__name__}"
                )
        limit = self.model_max_length if max_length is None else max_length
        fixed = self._choose("truncation", truncation, _TRUNCATION, {"longest_first", "only_first"})
        encodings = [
            self._encode(item, add_special_tokens, limit if fixed != "do_not_truncate" else None)
            for item in texts
        ]
        strategy = self._choose("padding", padding, _PADDING, {"longest", "max_length"})
        length = max((len(encoding.ids) for encoding in encodings), default=0)
        if strategy == "max_length" and limit < _NO_LIMIT:
            length = limit
        rows: dict[str, list[list[int]]] = {"input_ids": []}
        if return_token_type_ids:
            rows["token_type_ids"] = []
        if return_attention_mask:
            rows["attention_mask"] = []
        for encoding in encodings:
            missing = 0 if strategy == "do_not_pad" else max(0, length - len(encoding.ids))
            rows["input_ids"].append(encoding.ids + missing * [self.pad_token_id])
            if return_token_type_ids:
                rows["token_type_ids"].append(encoding.type_ids + missing * [0])
            if return_attention_mask:
                rows["attention_mask"].append(encoding.attention_mask + missing * [0])
        if return_tensors is None and isinstance(text, str):
            return BatchFeature({key: row[0] for key, row in rows.items()})
        return BatchFeature(rows, tensor_type=return_tensors)

    def _encode(self, text: str, add_special_tokens: bool, limit: int | None) -> Encoding:
        encoding = self.backend_tokenizer.encode(text, add_special_tokens=False)
        special = self.backend_tokenizer.num_special_tokens_to_add(False)
        special = special if add_special_tokens else 0
        if limit is not None:
            if limit < special:
                raise ValueError(
                    f"{type(self).__name__}: max_length must be at least the {special} special "
                    f"tokens, got {limit}"
                )
            encoding.truncate(limit - special)
        return self.backend_tokenizer.post_process(encoding, None, add_special_tokens)

    def _choose(self, name: str, value: Any, named: Mapping[Any, str], others: set[str]) -> str:
        """An option given as a bool or by name."""
        value = getattr(value, "value", value)
        chosen = named.get(value, value)
        if chosen not in {*named.values(), *others}:
            known = sorted({*named.values(), *others})
            kind = type(self).__name__
            raise ValueError(f"{kind}: {name} must be a bool or one of {known}, got {value!r}")
        return str(chosen)

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str | list[str]:
        """The text of ids (T,), or the texts of ids (B, T): lists, arrays or tensors."""
        if isinstance(token_ids, (torch.Tensor, np.ndarray)):
            token_ids = token_ids.tolist()
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        if ids and not isinstance(ids[0], (int, np.integer)):
            return [str(self.decode(row, skip_special_tokens)) for row in ids]
        return str(self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False) -> list[str]:
        """The texts of ids (B, T): lists, arrays or tensors."""
        return [str(self.decode(row, skip_special_tokens)) for row in sequences]

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text, without special tokens."""
        return list(self.backend_tokenizer.encode(text, add_special_tokens=False).tokens)

    def get_vocab(self) -> dict[str, int]:
        """{token: id}."""
        return dict(self.backend_tokenizer.get_vocab())

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size())
