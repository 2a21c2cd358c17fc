"""RoBERTa's byte-level BPE: text -> ids, by the `tokenizers` library (Radford et al. 2019).

The names, files and ids are those of transformers' RobertaTokenizer. Every byte has a token, so
that no text is unknown; a space belongs to the word behind it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from vivace.hub import Source, read_json
from vivace.models.tokenization import PreTrainedTokenizer

# In repositories of 2023; what it says about special tokens wins, as in transformers.
SPECIAL_TOKENS_NAME = "special_tokens_map.json"


class RobertaTokenizer(PreTrainedTokenizer):
    """Text -> ids, for one text or a batch: <s> text </s>.

    backend: a byte-level BPE `tokenizers.Tokenizer`; config: the content of tokenizer_config.json,
    whose add_prefix_space (a space in front of the text) wins over the backend's. Special tokens
    that the vocabulary lacks are added to it. Raises ValueError if the backend is no BPE.
    """

    model_kind = BPE
    special_token_defaults: ClassVar[dict[str, str]] = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": "<mask>",
    }
    option_names = ("add_prefix_space",)
    vocab_names = ("vocab.json", "merges.txt")

    bos_token: str
    bos_token_id: int
    eos_token: str
    eos_token_id: int

    @classmethod
    def from_vocab(
        cls,
        vocab: str | os.PathLike[str] | dict[str, int],
        merges: str | os.PathLike[str] | Sequence[tuple[str, str]],
        config: Mapping[str, Any] | None = None,
    ) -> "RobertaTokenizer":
        """The tokenizer of a vocab.json and a merges.txt, or of {token: id} and pairs of tokens.

        Raises OSError for files that are damaged.
        """
        config = {} if config is None else config
        if isinstance(vocab, dict) and not isinstance(merges, (str, os.PathLike)):
            model = BPE(dict(vocab), list(merges))
        elif not isinstance(vocab, dict) and isinstance(merges, (str, os.PathLike)):
            names = os.fspath(vocab), os.fspath(merges)
            try:
                model = BPE.from_file(*names)
            except Exception as error:  # tokenizers raises nothing more specific
                raise OSError(
                    f"the files {' and '.join(names)} are not a valid tokenizer: {error}"
                ) from error
        else:
            raise TypeError(
                "RobertaTokenizer.from_vocab: vocab and merges must both be files or both values, "
                f"got {type(vocab).__name__} and {type(merges).__name__}"
            )
        backend = Tokenizer(model)
        space = bool(config.get("add_prefix_space", False))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
        backend.decoder = decoders.ByteLevel()
        tokens, ids = cls._special_tokens(config), cls._add_special_tokens(backend, config)
        backend.post_processor = processors.RobertaProcessing(
            (tokens["sep_token"], ids["sep_token"]),
            (tokens["cls_token"], ids["cls_token"]),
            add_prefix_space=space,
        )
        return cls(backend, config)

    @classmethod
    def _stored_config(cls, source: Source) -> dict[str, Any]:
        config = super()._stored_config(source)
        path = source.find(SPECIAL_TOKENS_NAME)
        if path is None or "added_tokens_decoder" in config:
            return config
        tokens = read_json(path)
        return config | {
            name: tokens[name] for name in cls.special_token_defaults if name in tokens
        }

    @classmethod
    def _from_vocab_files(
        cls, paths: Sequence[Path], config: Mapping[str, Any]
    ) -> "RobertaTokenizer":
        return cls.from_vocab(paths[0], paths[1], config)

    def _set_options(self, backend: Tokenizer, config: Mapping[str, Any]) -> None:
        if "add_prefix_space" in config and isinstance(
            backend.pre_tokenizer, pre_tokenizers.ByteLevel
        ):
            backend.pre_tokenizer.add_prefix_space = bool(config["add_prefix_space"])

    def _options(self) -> dict[str, Any]:
        first = self.backend_tokenizer.pre_tokenizer
        byte_level = isinstance(first, pre_tokenizers.ByteLevel)
        return {"add_prefix_space": byte_level and first.add_prefix_space}
