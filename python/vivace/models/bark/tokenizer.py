"""BERT's cased WordPiece: text -> ids, by the `tokenizers` library (Devlin et al. 2018).

The names, files and ids are those of transformers' BertTokenizer.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from vivace.models.tokenization import PreTrainedTokenizer

# Option of tokenizer_config.json -> argument of the normalizer, and Bark's value: cased text.
_NORMALIZER = {
    "do_lower_case": ("lowercase", False),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}


class BertTokenizer(PreTrainedTokenizer):
    """Text -> ids, for one text or a batch.

    backend: a WordPiece `tokenizers.Tokenizer`; config: the content of tokenizer_config.json, whose
    options of the normalizer win over the backend's. Raises ValueError if the backend is no
    WordPiece or lacks the unknown or the padding token.
    """

    model_kind = WordPiece
    special_token_defaults: ClassVar[dict[str, str]] = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    required_tokens = ("unk_token", "pad_token")
    option_names = tuple(_NORMALIZER)
    vocab_names = ("vocab.txt",)

    @classmethod
    def from_vocab(
        cls, vocab: str | os.PathLike[str] | dict[str, int], config: Mapping[str, Any] | None = None
    ) -> "BertTokenizer":
        """The tokenizer of a vocab.txt (one token per line) or of {token: id}."""
        config = {} if config is None else config
        tokens = cls._special_tokens(config)
        model = (
            WordPiece(vocab, unk_token=tokens["unk_token"])
            if isinstance(vocab, dict)
            else WordPiece.from_file(os.fspath(vocab), unk_token=tokens["unk_token"])
        )
        backend = Tokenizer(model)
        ids = cls._add_special_tokens(backend, config)
        options = {
            attribute: config.get(option, value)
            for option, (attribute, value) in _NORMALIZER.items()
        }
        backend.normalizer = normalizers.BertNormalizer(clean_text=True, **options)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix="##")
        cls_token, sep_token = tokens["cls_token"], tokens["sep_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{cls_token}:0 $A:0 {sep_token}:0",
            pair=f"{cls_token}:0 $A:0 {sep_token}:0 $B:1 {sep_token}:1",
            special_tokens=[(cls_token, ids["cls_token"]), (sep_token, ids["sep_token"])],
        )
        return cls(backend, config)

    @classmethod
    def _from_vocab_files(cls, paths: Sequence[Path], config: Mapping[str, Any]) -> "BertTokenizer":
        return cls.from_vocab(paths[0], config)

    def _set_options(self, backend: Tokenizer, config: Mapping[str, Any]) -> None:
        if isinstance(backend.normalizer, normalizers.BertNormalizer):
            for option, (attribute, _) in _NORMALIZER.items():
                if option in config:
                    setattr(backend.normalizer, attribute, config[option])

    def _options(self) -> dict[str, Any]:
        normalizer = self.backend_tokenizer.normalizer
        if not isinstance(normalizer, normalizers.BertNormalizer):
            return {}
        return {option: getattr(normalizer, name) for option, (name, _) in _NORMALIZER.items()}
