"""BertTokenizer against transformers': ids, masks, texts, and each reading the other's files."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers import BertTokenizer as OracleTokenizer

from tests.models.bark.vocabulary import TEXTS, TOKENS, write_vocab
from vivace.models.bark.tokenizer import BertTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocab(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> BertTokenizer:
    return BertTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    return OracleTokenizer.from_pretrained(folder, do_lower_case=False)


def assert_same(tokenizer: Any, oracle: Any, texts: Any, **options: Any) -> None:
    options = {"return_token_type_ids": True, **options}
    found, expected = tokenizer(texts, **options), oracle(texts, **options)
    assert set(found) == set(expected)
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)
        else:
            assert type(found[key]) is type(value)
            same = np.array_equal if isinstance(value, np.ndarray) else list.__eq__
            assert same(found[key], value), key


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_ids_of_one_text(tokenizer: Any, oracle: Any, text: str, special: bool) -> None:
    assert tokenizer.tokenize(text) == oracle.tokenize(text)
    for options in (
        {},
        {"padding": "max_length", "max_length": 32},
        {"padding": "max_length", "max_length": 32, "truncation": True, "return_tensors": "pt"},
        {"truncation": "only_first", "max_length": 3, "return_attention_mask": False},
    ):
        assert_same(tokenizer, oracle, text, add_special_tokens=special, **options)


@pytest.mark.parametrize("kind", [None, "np", "pt"])
@pytest.mark.parametrize("padding", [True, "longest", "max_length"])
def test_ids_of_a_batch(tokenizer: Any, oracle: Any, kind: str | None, padding: Any) -> None:
    options: dict[str, Any] = {"padding": padding, "return_tensors": kind}
    assert_same(tokenizer, oracle, TEXTS, truncation=True, max_length=40, **options)
    if padding == "max_length":
        options["max_length"] = 320
    assert_same(tokenizer, oracle, TEXTS, **options)
    assert_same(tokenizer, oracle, tuple(TEXTS[:3]), add_special_tokens=False, **options)
    assert_same(tokenizer, oracle, TEXTS, padding=False)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("aeé日[]. \u0301♪")))
def test_ids_of_any_text(text: str) -> None:
    vocab = {token: i for i, token in enumerate(TOKENS)}
    found = BertTokenizer.from_vocab(dict(vocab))
    expected = OracleTokenizer(vocab=dict(vocab), do_lower_case=False)
    assert found(text)["input_ids"] == expected(text)["input_ids"]


@pytest.mark.parametrize("skip", [True, False])
def test_decode(tokenizer: Any, oracle: Any, skip: bool) -> None:
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        expected = oracle.decode(ids, skip_special_tokens=skip)
        assert tokenizer.decode(ids, skip_special_tokens=skip) == expected
        assert tokenizer.decode(torch.tensor(ids), skip) == expected
        assert tokenizer.decode(np.array(ids), skip) == expected
    batch = tokenizer(TEXTS[:5], padding=True, return_tensors="pt").input_ids
    assert tokenizer.decode(batch, skip) == oracle.batch_decode(batch, skip_special_tokens=skip)
    assert tokenizer.decode(7) == oracle.decode(7)
    assert tokenizer.decode([]) == ""


def test_vocabulary(tokenizer: BertTokenizer, oracle: Any) -> None:
    assert tokenizer.get_vocab() == oracle.get_vocab()
    assert len(tokenizer) == len(oracle) == len(TOKENS)
    assert tokenizer.pad_token_id == oracle.pad_token_id == 0


@pytest.mark.parametrize("lower", [False, True])
def test_each_reads_what_the_other_wrote(folder: Path, tmp_path: Path, lower: bool) -> None:
    options: dict[str, Any] = {"do_lower_case": lower, "strip_accents": lower or None}
    options |= {"tokenize_chinese_chars": not lower, "model_max_length": 40}
    ours = BertTokenizer.from_pretrained(folder, **options)
    theirs = OracleTokenizer.from_pretrained(folder, **options)
    saved = ours.save_pretrained(tmp_path / "ours")
    assert sorted(Path(name).name for name in saved) == ["tokenizer.json", "tokenizer_config.json"]
    theirs.save_pretrained(tmp_path / "theirs")
    for text in TEXTS:
        assert_same(ours, theirs, text, truncation=True, padding="max_length")
        for reader in (OracleTokenizer, AutoTokenizer, BertTokenizer):
            assert_same(ours, reader.from_pretrained(tmp_path / "ours"), text)
        assert_same(BertTokenizer.from_pretrained(tmp_path / "theirs"), theirs, text)
    keys = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "model_max_length")
    for name in ("ours", "theirs"):
        config = json.loads((tmp_path / name / "tokenizer_config.json").read_text())
        assert [config[key] for key in keys] == [options[key] for key in keys]
        assert config["tokenizer_class"] == "BertTokenizer"


def test_the_config_wins_over_tokenizer_json(folder: Path, tmp_path: Path) -> None:
    BertTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_lower_case": True}))
    for text in TEXTS:
        found = BertTokenizer.from_pretrained(tmp_path)(text).input_ids
        assert found == OracleTokenizer.from_pretrained(tmp_path)(text).input_ids
    path.unlink()
    cased = BertTokenizer.from_pretrained(tmp_path)
    assert cased("HELLO").input_ids == BertTokenizer.from_pretrained(folder)("HELLO").input_ids


def test_padding_and_truncation_in_the_file_are_ignored(folder: Path, tmp_path: Path) -> None:
    oracle = OracleTokenizer.from_pretrained(folder, do_lower_case=False)
    oracle(TEXTS, padding="max_length", truncation=True, max_length=9)
    oracle.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["padding"] is not None
    found = BertTokenizer.from_pretrained(tmp_path)(TEXTS)["input_ids"]
    assert found == BertTokenizer.from_pretrained(folder)(TEXTS)["input_ids"]


def test_special_tokens_of_the_config(tmp_path: Path) -> None:
    vocab = {"<p>": 0, "<u>": 1, "a": 2}
    config = {"pad_token": {"content": "<p>"}, "unk_token": "<u>"}
    found = BertTokenizer.from_vocab(vocab, config)
    oracle = OracleTokenizer(vocab=vocab, pad_token="<p>", unk_token="<u>", do_lower_case=False)
    for text in ("a b [MASK] <p>", ""):
        assert found.decode(found(text).input_ids) == oracle.decode(oracle(text)["input_ids"])
    assert found("b", padding="max_length", max_length=5).input_ids[-2:] == [0, 0]


def test_threads_share_one_tokenizer_and_copies_are_equal(tokenizer: BertTokenizer) -> None:
    def ids(limit: int) -> Any:
        return tokenizer(TEXTS, padding="max_length", truncation=True, max_length=limit)[
            "input_ids"
        ]

    limits = [3, 5, 8, 40] * 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ids, limits)) == [ids(limit) for limit in limits]
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy(TEXTS) == tokenizer(TEXTS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"padding": "most"}, ValueError, "padding must be a bool or one of"),
        ({"truncation": "only_second"}, ValueError, "truncation must be a bool or one of"),
        ({"truncation": True, "max_length": 1}, ValueError, "at least the 2 special tokens, got 1"),
        ({"return_tensors": "tf"}, ValueError, "not a valid TensorType"),
        ({"text": 3}, TypeError, "not iterable"),
        ({"text": ["a", 3]}, TypeError, "a str or a list of str, got int"),
        ({"stride": 2}, TypeError, "stride"),
    ],
)
def test_errors(tokenizer: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tokenizer(**{"text": "a", **options})


def test_errors_of_files(tmp_path: Path) -> None:
    def load(**options: Any) -> BertTokenizer:
        return BertTokenizer.from_pretrained(tmp_path, **options)

    with pytest.raises(OSError, match=r"has no tokenizer\.json and no vocab\.txt"):
        load()
    (tmp_path / "vocab.txt").write_text("a\nb\n[UNK]\n")
    with pytest.raises(ValueError, match=r"lacks \[PAD\] \(pad_token\)"):
        load()
    assert load(pad_token="a").pad_token_id == 0
    with pytest.raises(TypeError, match=r"unknown keyword arguments \['bos_token'\]"):
        load(bos_token="<s>")
    for content in ("", "{}", "[1]", '{"model": {"type": "WordPiece"}}'):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(OSError, match="not a valid tokenizer"):
            load()
    bpe = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(bpe))
    with pytest.raises(ValueError, match="expected a WordPiece model, got BPE"):
        load()
