"""RobertaTokenizer against transformers': ids, masks, texts, and each reading the other's files."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoTokenizer
from transformers import RobertaTokenizerFast as OracleTokenizer

from vivace.models.audioldm import RobertaTokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MASK = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}
TEXTS = [
    "",
    " ",
    "A hammer hitting a wooden surface",
    "  techno music with a strong, upbeat tempo... and high melodic riffs!",
    "don't stop: it's 3.14 o'clock, we'll go",
    "a <mask> and </s> inside <s><pad> <unk>x",
    "日本語 你好世界。 mixed日本words",
    "é e\u0301 ÀÉ ñandú — «sí» ¿qué?",
    "emoji 😀 👨‍👩‍👧 flags 🇯🇵",
    "tab\tnew\nline\r\nnbsp\u00a0zero\u200bwidth\x00nul\ufffdbad\ufeff",
    "x" * 99 + "   " + "9" * 30,
    "hammer wood " * 300,
]


def trained() -> BPE:
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        show_progress=False,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    corpus = [text for text in TEXTS for _ in range(5)]
    backend.train_from_iterator([*corpus, "the wooden hammer hits", "techno tempo"], trainer)
    return backend.model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vocab.json, merges.txt and the two small files that stand beside them."""
    folder = tmp_path_factory.mktemp("roberta")
    trained().save(str(folder))
    config = {"add_prefix_space": False, "model_max_length": 512, "trim_offsets": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps({"mask_token": MASK}))
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> RobertaTokenizer:
    return RobertaTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    return OracleTokenizer.from_pretrained(folder)


def assert_same(tokenizer: Any, oracle: Any, texts: Any, **options: Any) -> None:
    found, expected = tokenizer(texts, **options), oracle(texts, **options)
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert type(found[key]) is type(value)
        if isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)
        elif isinstance(value, np.ndarray):
            assert np.array_equal(found[key], value)
        else:
            assert found[key] == value


def test_the_special_tokens(tokenizer: RobertaTokenizer, oracle: Any) -> None:
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        for attribute in (f"{name}_token", f"{name}_token_id"):
            assert getattr(tokenizer, attribute) == getattr(oracle, attribute)
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.model_max_length == oracle.model_max_length == 512
    assert tokenizer.get_vocab() == oracle.get_vocab()
    assert len(tokenizer) == len(oracle)


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_ids_of_one_text(tokenizer: Any, oracle: Any, text: str, special: bool) -> None:
    assert tokenizer.tokenize(text) == oracle.tokenize(text)
    for options in (
        {},
        {"padding": "max_length", "max_length": 32},
        {"padding": "max_length", "truncation": True, "return_tensors": "pt"},
        {"truncation": "only_first", "max_length": 3, "return_attention_mask": False},
        {"return_token_type_ids": True},
    ):
        assert_same(tokenizer, oracle, text, add_special_tokens=special, **options)


@pytest.mark.parametrize("kind", [None, "np", "pt"])
@pytest.mark.parametrize("padding", [True, "longest", "max_length"])
def test_ids_of_a_batch(tokenizer: Any, oracle: Any, kind: str | None, padding: Any) -> None:
    options: dict[str, Any] = {"padding": padding, "return_tensors": kind, "truncation": True}
    assert_same(tokenizer, oracle, TEXTS, **options)
    assert_same(tokenizer, oracle, TEXTS, max_length=40, **options)
    assert_same(tokenizer, oracle, tuple(TEXTS[:3]), add_special_tokens=False, **options)
    assert_same(tokenizer, oracle, TEXTS, padding=False)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ae é日[]<>. \u0301♪")))
def test_ids_of_any_text(tokenizer: RobertaTokenizer, oracle: Any, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert ids == oracle(text).input_ids
    assert tokenizer.decode(ids) == oracle.decode(ids)


@pytest.mark.parametrize("skip", [True, False])
def test_decode(tokenizer: Any, oracle: Any, skip: bool) -> None:
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        expected = oracle.decode(ids, skip_special_tokens=skip)
        assert tokenizer.decode(torch.tensor(ids), skip_special_tokens=skip) == expected
    assert tokenizer.decode(tokenizer(TEXTS[3]).input_ids, True) == TEXTS[3]
    batch = tokenizer(TEXTS[:5], padding=True, return_tensors="pt").input_ids
    expected = oracle.batch_decode(batch, skip_special_tokens=skip)
    assert tokenizer.batch_decode(batch, skip_special_tokens=skip) == expected
    assert tokenizer.batch_decode(batch.tolist(), skip_special_tokens=skip) == expected


@pytest.mark.parametrize("space", [False, True])
def test_each_reads_what_the_other_wrote(folder: Path, tmp_path: Path, space: bool) -> None:
    options: dict[str, Any] = {"add_prefix_space": space, "model_max_length": 40}
    ours = RobertaTokenizer.from_pretrained(folder, **options)
    theirs = OracleTokenizer.from_pretrained(folder, **options)
    saved = ours.save_pretrained(tmp_path / "ours")
    assert sorted(Path(name).name for name in saved) == ["tokenizer.json", "tokenizer_config.json"]
    theirs.save_pretrained(tmp_path / "theirs")
    for text in TEXTS:
        assert_same(ours, theirs, text, truncation=True, padding="max_length")
        for reader in (OracleTokenizer, AutoTokenizer, RobertaTokenizer):
            read = reader.from_pretrained(tmp_path / "ours")
            assert_same(ours, read, text, truncation=True, padding="max_length")
        assert_same(RobertaTokenizer.from_pretrained(tmp_path / "theirs"), theirs, text)
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path / "ours"), OracleTokenizer)


def test_the_config_wins_over_tokenizer_json(folder: Path, tmp_path: Path) -> None:
    RobertaTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"add_prefix_space": True, "mask_token": "hammer"}
    path.write_text(json.dumps(config))
    ours, theirs = (c.from_pretrained(tmp_path) for c in (RobertaTokenizer, OracleTokenizer))
    for text in TEXTS:
        assert ours(text).input_ids == theirs(text).input_ids
    assert ours.mask_token_id == theirs.mask_token_id


def test_a_subfolder_and_padding_in_the_file(oracle: Any, tmp_path: Path) -> None:
    oracle(TEXTS, padding="max_length", truncation=True, max_length=9)
    oracle.save_pretrained(tmp_path / "tokenizer")
    assert json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["padding"]
    found = RobertaTokenizer.from_pretrained(tmp_path, subfolder="tokenizer")
    assert found(TEXTS).input_ids == oracle(TEXTS).input_ids


def test_special_tokens_that_the_vocabulary_lacks(oracle: Any) -> None:
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    ours = RobertaTokenizer.from_vocab(vocab, [])
    theirs = OracleTokenizer(vocab=dict(vocab), merges=[])
    for text in TEXTS:
        assert ours(text).input_ids == theirs(text).input_ids
    assert ours.pad_token_id == theirs.pad_token_id == 259


def test_copies_are_equal(tokenizer: RobertaTokenizer) -> None:
    assert pickle.loads(pickle.dumps(tokenizer))(TEXTS) == tokenizer(TEXTS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"padding": "most"}, ValueError, "RobertaTokenizer: padding must be a bool or one of"),
        ({"truncation": "only_second"}, ValueError, "truncation must be a bool or one of"),
        ({"truncation": True, "max_length": 1}, ValueError, "at least the 2 special tokens, got 1"),
        ({"text": ["a b c", "a"], "return_tensors": "pt"}, ValueError, "padding=True"),
        ({"text": ["a", 3]}, TypeError, "RobertaTokenizer: text must be a str .* got int"),
    ],
)
def test_errors(tokenizer: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tokenizer(**{"text": "a", **options})


def test_errors_of_files(folder: Path, tmp_path: Path) -> None:
    def load(**options: Any) -> RobertaTokenizer:
        return RobertaTokenizer.from_pretrained(tmp_path, **options)

    with pytest.raises(OSError, match=r"no tokenizer\.json and no vocab\.json and no merges\.txt"):
        load()
    (tmp_path / "vocab.json").write_text((folder / "vocab.json").read_text())
    with pytest.raises(OSError, match=r"no tokenizer\.json and no merges\.txt"):
        load()
    (tmp_path / "merges.txt").write_text("one\n")
    with pytest.raises(OSError, match=r"merges\.txt are not a valid tokenizer"):
        load()
    with pytest.raises(TypeError, match=r"unknown keyword arguments \['do_lower_case'\]"):
        load(do_lower_case=True)
    with pytest.raises(TypeError, match="both be files or both values, got dict and str"):
        RobertaTokenizer.from_vocab({}, "merges.txt")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(OSError, match="not a valid tokenizer"):
        load()
    words = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": "a"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match="expected a BPE model, got WordLevel"):
        load()
