"""BarkProcessor against transformers': inputs, files in both directions, voices, errors."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from transformers import AutoProcessor
from transformers import BarkProcessor as OracleProcessor
from transformers import BertTokenizer as OracleTokenizer

from tests.models.bark.test_voices import assert_voice, voice
from tests.models.bark.vocabulary import TEXTS, write_vocab
from vivace.models.bark.processor import BarkProcessor
from vivace.models.bark.tokenizer import BertTokenizer
from vivace.models.bark.voices import VOICE_KEYS, list_voices, save_voice

NAMES = ["announcer", "en_speaker_10", "v2/en_speaker_2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A processor with three voices, as transformers saves it."""
    stored: dict[str, Any] = {"repo_or_path": str(tmp_path / "raw")}
    write_vocab(tmp_path / "raw")
    for name in NAMES:
        stored[name] = {}
        for key, value in voice(dtype=np.int32 if name == "announcer" else np.int64).items():
            stored[name][key] = f"{name.replace('/', '_')}_{key}.npy"
            np.save(tmp_path / "raw" / stored[name][key], value)
    tokenizer = OracleTokenizer.from_pretrained(tmp_path / "raw", do_lower_case=False)
    OracleProcessor(tokenizer, stored).save_pretrained(str(tmp_path / "theirs"))
    return tmp_path / "theirs"


@pytest.fixture
def oracle(folder: Path) -> Any:
    return OracleProcessor.from_pretrained(str(folder))


@pytest.fixture(params=["ours", "transformers' tokenizer"])
def processor(folder: Path, oracle: Any, request: pytest.FixtureRequest) -> BarkProcessor:
    loaded = BarkProcessor.from_pretrained(folder)
    if request.param != "ours":
        loaded.tokenizer = oracle.tokenizer
    return loaded


def assert_same(found: Any, expected: Any) -> None:
    assert set(found) == set(expected)
    for key, value in expected.items():
        if key == "history_prompt":
            for name in VOICE_KEYS:
                assert type(found[key][name]) is type(value[name])
                assert np.array_equal(found[key][name], value[name])
        else:
            assert type(found[key]) is type(value)
            assert np.array_equal(found[key], value)
            assert getattr(found[key], "dtype", None) == getattr(value, "dtype", None)


@pytest.mark.parametrize("kind", ["pt", "np", None])
@pytest.mark.parametrize("preset", [None, *NAMES])
def test_inputs(processor: Any, oracle: Any, kind: str | None, preset: str | None) -> None:
    for text in [*TEXTS, TEXTS[:-1], tuple(TEXTS[:2])]:
        options = {"voice_preset": preset, "return_tensors": kind}
        assert_same(processor(text, **options), oracle(text, **options))
        options |= {"max_length": 300, "add_special_tokens": True, "return_token_type_ids": True}
        assert_same(processor(text, **options), oracle(text, **options))
    options = {"return_attention_mask": False, "truncation": True}
    assert_same(processor(TEXTS, **options), oracle(TEXTS, **options))


def test_defaults_and_attributes(processor: Any) -> None:
    inputs = processor("Hello world", voice_preset="announcer")
    assert list(inputs) == ["input_ids", "attention_mask", "history_prompt"]
    assert inputs.input_ids.shape == inputs.attention_mask.shape == (1, 256)
    assert int(inputs.attention_mask.sum()) == 2
    assert inputs.history_prompt.fine_prompt.shape == (8, 5)
    assert {**inputs}.keys() == inputs.keys()


def test_a_long_text_stays_whole(processor: Any) -> None:
    long = "hello " * 300
    both = processor([long, "my dog is"], return_token_type_ids=True)
    assert (
        both.input_ids.shape == both.attention_mask.shape == both.token_type_ids.shape == (2, 300)
    )
    assert torch.equal(both.input_ids[0], processor(long).input_ids[0])
    assert torch.equal(both.input_ids[1, :256], processor("my dog is").input_ids[0])
    assert both.input_ids[1, 3:].tolist() == [0] * 297
    assert both.attention_mask[1].tolist() == [1] * 3 + [0] * 297


def test_options_of_the_tokenizer_go_with_a_voice(processor: Any) -> None:
    inputs = processor([TEXTS[-1], "a"], voice_preset=NAMES[1], truncation=True, max_length=20)
    assert inputs.input_ids.shape == (2, 20)
    assert inputs.attention_mask.sum(1).tolist() == [20, 1]


def test_one_voice_per_text(processor: Any) -> None:
    presets = [NAMES[0], None, voice(3)]
    history = processor(["a", "b", "c"], voice_preset=presets).history_prompt
    assert history[1] is None
    single = processor("a", voice_preset=NAMES[0]).history_prompt
    assert_voice({key: value.numpy() for key, value in history[0].items()}, single)
    assert_voice({key: value.numpy() for key, value in history[2].items()}, presets[2])
    assert processor("a", voice_preset=[None]).history_prompt == [None]
    with pytest.raises(ValueError, match=r"one entry per text \(2\), got 3"):
        processor(["a", "b"], voice_preset=presets)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint8])
def test_voices_from_dicts_and_files(processor: Any, tmp_path: Path, dtype: Any) -> None:
    tokens = {key: (value % 256).astype(dtype) for key, value in voice().items()}
    np.savez(tmp_path / "mine.npz", **tokens)
    path = tmp_path / "mine"
    tensors = {key: torch.from_numpy(value) for key, value in tokens.items()}
    for given in (tokens, tensors, path, str(path), f"{path}.npz"):
        history = processor("a", voice_preset=given).history_prompt
        assert all(value.dtype == torch.int64 for value in history.values())
        assert_voice({key: value.numpy() for key, value in history.items()}, tokens)
    history = processor("a", voice_preset=tokens, return_tensors="np").history_prompt
    assert_voice(history, tokens)


def test_voice_files_suit_transformers(processor: Any, oracle: Any, tmp_path: Path) -> None:
    path = str(save_voice(tmp_path / "v", voice()))
    assert_same(processor("a", voice_preset=path), oracle("a", voice_preset=path))


def test_to_moves_the_voices(processor: Any) -> None:
    inputs = processor(["a", "b"], voice_preset=[NAMES[0], None]).to("meta")
    assert inputs.input_ids.device.type == inputs.attention_mask.device.type == "meta"
    assert {value.device.type for value in inputs.history_prompt[0].values()} == {"meta"}
    inputs = processor("a", voice_preset=NAMES[0]).to(device="meta", dtype=torch.float16)
    assert {value.device.type for value in inputs.history_prompt.values()} == {"meta"}
    assert {value.dtype for value in inputs.history_prompt.values()} == {torch.int64}
    assert processor("a").to("meta").input_ids.device.type == "meta"


def test_each_reads_what_the_other_wrote(folder: Path, oracle: Any, tmp_path: Path) -> None:
    ours = BarkProcessor.from_pretrained(folder)
    ours.add_voice("mine/one", voice(4, np.uint16))
    written = ours.save_pretrained(tmp_path / "ours")
    files = [p.relative_to(tmp_path / "ours") for p in (tmp_path / "ours").rglob("*")]
    assert sorted(written) == sorted(str(p) for p in files if p.suffix in (".npy", ".json"))
    assert "speaker_embeddings/v2/en_speaker_2_fine_prompt.npy" in written
    theirs = OracleProcessor.from_pretrained(str(tmp_path / "ours"))
    again = BarkProcessor.from_pretrained(tmp_path / "ours")
    names = sorted([*NAMES, "mine/one"])
    assert sorted(theirs.available_voice_presets) == sorted(again.available_voice_presets) == names
    assert list_voices(again) == ["announcer", "en_speaker_10", "mine/one", "v2/en_speaker_2"]
    for name in names:
        expected = theirs("Hello [laughter]", voice_preset=name)
        assert_same(again("Hello [laughter]", voice_preset=name), expected)
        assert_same(ours("Hello [laughter]", voice_preset=name), expected)
    assert_same(ours("a", voice_preset=NAMES[0]), oracle("a", voice_preset=NAMES[0]))
    assert isinstance(AutoProcessor.from_pretrained(tmp_path / "ours"), OracleProcessor)
    index = json.loads((tmp_path / "ours" / "speaker_embeddings_path.json").read_text())
    assert index["repo_or_path"] == str(tmp_path / "ours")


def test_saving_over_itself_and_elsewhere(folder: Path, tmp_path: Path) -> None:
    processor = BarkProcessor.from_pretrained(folder)
    expected = processor("a", voice_preset=NAMES[2])
    processor.save_pretrained(folder)
    assert_same(BarkProcessor.from_pretrained(folder)("a", voice_preset=NAMES[2]), expected)
    processor.save_pretrained(tmp_path / "new", "voices.json", "voices")
    assert (tmp_path / "new/voices/announcer_fine_prompt.npy").is_file()
    moved = BarkProcessor.from_pretrained(tmp_path / "new", "voices.json")
    assert_same(moved("a", voice_preset=NAMES[2]), expected)
    (tmp_path / "outer").mkdir()
    (tmp_path / "new").rename(tmp_path / "outer" / "inner")
    inner = BarkProcessor.from_pretrained(tmp_path / "outer", "voices.json", subfolder="inner")
    assert_same(inner("a", voice_preset=NAMES[2]), expected)


def test_without_voices(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = BertTokenizer.from_pretrained(folder)
    BarkProcessor(tokenizer).save_pretrained(tmp_path / "none")
    assert not (tmp_path / "none" / "speaker_embeddings_path.json").exists()
    with caplog.at_level(logging.WARNING):
        found = BarkProcessor.from_pretrained(tmp_path / "none")
    assert "no speaker_embeddings_path.json: no voices are known" in caplog.text
    assert found.speaker_embeddings is None
    assert found.available_voice_presets == []
    caplog.clear()
    assert BarkProcessor.from_pretrained(folder, None).speaker_embeddings is None
    assert not caplog.text
    found.add_voice("one", voice())
    assert found("a", voice_preset="one").history_prompt.coarse_prompt.shape == (2, 5)


def test_added_voices_are_checked(folder: Path, tmp_path: Path) -> None:
    processor = BarkProcessor.from_pretrained(folder)
    tokens = voice()
    processor.add_voice("v2/mine", save_voice(tmp_path / "v", tokens))
    assert_voice(processor("a", voice_preset="v2/mine", return_tensors="np").history_prompt, tokens)
    for name in ("../x", "/x", "a\\b", "", "repo_or_path"):
        with pytest.raises(ValueError, match="Invalid voice preset name"):
            processor.add_voice(name, tokens)
    with pytest.raises(ValueError, match="missing fine_prompt as a key"):
        processor.add_voice("x", {key: tokens[key] for key in VOICE_KEYS[:2]})
    assert processor.available_voice_presets[-1] == "v2/mine"


@pytest.mark.parametrize(
    "path", ["../secret.npy", "/{}/secret.npy", "a/../../secret.npy", "..\\s", 3]
)
def test_paths_in_the_json_stay_in_the_folder(folder: Path, tmp_path: Path, path: Any) -> None:
    np.save(tmp_path / "secret.npy", np.ones(4, int))
    path = path.format(tmp_path) if isinstance(path, str) else path
    file = folder / "speaker_embeddings_path.json"
    index = json.loads(file.read_text())
    index["announcer"]["semantic_prompt"] = path
    file.write_text(json.dumps(index))
    with pytest.raises((ValueError, TypeError), match=r"Invalid voice preset path|be a 1D"):
        BarkProcessor.from_pretrained(folder)("a", voice_preset="announcer")


@pytest.mark.parametrize("name", ["../../PWNED", "/PWNED", "a/../../PWNED", "..\\PWNED"])
def test_names_in_the_json_stay_in_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    file = folder / "speaker_embeddings_path.json"
    index = json.loads(file.read_text())
    index[name] = index.pop("announcer")
    file.write_text(json.dumps(index))
    processor = BarkProcessor.from_pretrained(folder)
    with pytest.raises(ValueError, match="Invalid voice preset name"):
        processor.save_pretrained(tmp_path / "a" / "b")
    with pytest.raises(ValueError, match="Invalid voice preset name"):
        processor("a", voice_preset=name)
    assert not (tmp_path / "a").exists()


def test_symbolic_links_of_the_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    expected = BarkProcessor.from_pretrained(folder)("a", voice_preset=NAMES[0])
    (tmp_path / "blobs").mkdir()
    for i, path in enumerate(sorted(folder.rglob("*.npy"))):
        path.rename(tmp_path / "blobs" / str(i))
        path.symlink_to(os.path.relpath(tmp_path / "blobs" / str(i), path.parent))
    assert_same(BarkProcessor.from_pretrained(folder)("a", voice_preset=NAMES[0]), expected)


def test_missing_and_damaged_voices(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    processor = BarkProcessor.from_pretrained(folder)
    (folder / "speaker_embeddings/announcer_fine_prompt.npy").unlink()
    np.save(folder / "speaker_embeddings/en_speaker_10_fine_prompt.npy", np.full((8, 3), 1024))
    with pytest.raises(
        ValueError, match=r"'announcer'.*announcer_fine_prompt\.npy` does not exist"
    ):
        processor("a", voice_preset="announcer")
    with pytest.raises(ValueError, match=r"'en_speaker_10': fine_prompt .* 0 to 1023"):
        processor("a", voice_preset="en_speaker_10")
    with pytest.raises(ValueError, match="does not exist"):
        processor.save_pretrained(folder)
    processor._verify_speaker_embeddings()
    assert "2 voices are not available" in caplog.text
    assert processor.available_voice_presets == ["v2/en_speaker_2"]


@pytest.mark.parametrize("source", ["repo_or_path", "arrays"])
def test_embeddings_of_the_constructor(folder: Path, source: str) -> None:
    tokenizer, tokens = BertTokenizer.from_pretrained(folder), voice()
    stored: dict[str, Any] = {"mine": tokens}
    if source == "repo_or_path":
        for key in VOICE_KEYS:
            np.save(folder / f"{key}.npy", tokens[key])
        stored = {"repo_or_path": str(folder), "mine": {key: f"{key}.npy" for key in VOICE_KEYS}}
    processor = BarkProcessor(tokenizer, stored)
    assert processor.available_voice_presets == ["mine"]
    assert_voice(processor("a", voice_preset="mine", return_tensors="np").history_prompt, tokens)
    if source == "repo_or_path":
        del stored["repo_or_path"]
        with pytest.raises(ValueError, match="has paths, but no repo_or_path"):
            BarkProcessor(tokenizer, stored)("a", voice_preset="mine")


def test_split(processor: Any) -> None:
    text = "Hello world. My dog is cute! The little egg clears the throat."
    pieces = processor.split(text, max_length=9)
    assert " ".join(pieces) == text
    assert pieces == ["Hello world. My dog is cute!", "The little egg clears the throat."]
    for piece in pieces:
        assert int(processor(piece).attention_mask.sum()) <= 9
    assert processor.split(text) == [text]
    assert processor.split(text, target=20)[0] == "Hello world."


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text": None}, ValueError, "a str or a list of at least one str, got None"),
        ({"text": []}, ValueError, r"a list of at least one str, got \[\]"),
        ({"text": 3}, ValueError, "got 3"),
        ({"text": [3]}, (ValueError, TypeError), "str"),
        ({"voice_preset": "xx"}, FileNotFoundError, r"'xx' is none of the 3 in .* no file xx\.npz"),
        ({"voice_preset": "repo_or_path"}, FileNotFoundError, "none of the 3"),
        ({"voice_preset": 3}, TypeError, "a voice must be a dict with the keys .* got int"),
        ({"voice_preset": {}}, ValueError, "missing semantic_prompt as a key."),
        ({"return_tensors": "tf"}, ValueError, "not a valid TensorType"),
    ],
)
def test_errors(processor: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        processor(**{"text": "a", **options})


def test_errors_of_the_class(processor: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="tokenizer must be callable, got NoneType"):
        BarkProcessor(None)
    with pytest.raises(TypeError, match=r"unknown keyword arguments \['colour'\]"):
        processor.save_pretrained(tmp_path / "x", colour=1)
    with pytest.raises(TypeError, match="unknown keyword arguments"):
        BarkProcessor.from_pretrained(folder, colour=1)
    processor.speaker_embeddings["list"] = []
    processor.speaker_embeddings["part"] = {}
    with pytest.raises(ValueError, match=r"speaker_embeddings\[list\] must be a dict, got list"):
        processor("a", voice_preset="list")
    with pytest.raises(
        ValueError, match=r"missing \w+ as a key in self.speaker_embeddings\[part\]"
    ):
        processor("a", voice_preset="part")


def test_another_folder_of_voices(processor: Any, folder: Path) -> None:
    expected = processor("a", voice_preset=NAMES[0])
    folder.rename(folder.with_name("moved"))
    with pytest.raises((ValueError, OSError)):
        processor("a", voice_preset=NAMES[0])
    processor.speaker_embeddings["repo_or_path"] = str(folder.with_name("moved"))
    assert_same(processor("a", voice_preset=NAMES[0]), expected)


def test_all_files_are_of_one_commit(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    commit = "0123456789" * 4
    snapshot = tmp_path / "snapshots" / commit
    snapshot.parent.mkdir()
    folder.rename(snapshot)
    asked: list[tuple[str, Any, Any, Any]] = []

    def download(name: str, filename: str, **options: Any) -> str:
        asked.append((name, options["revision"], options["token"], options["cache_dir"]))
        if not (snapshot / filename).is_file():
            raise huggingface_hub.errors.EntryNotFoundError(filename)
        return str(snapshot / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    processor = BarkProcessor.from_pretrained("me/bark", token="t", cache_dir=tmp_path)
    assert processor.speaker_embeddings is not None
    assert processor.speaker_embeddings["repo_or_path"] == "me/bark"
    processor("a", voice_preset=NAMES[2])
    assert asked[0] == ("me/bark", "main", "t", str(tmp_path))
    assert set(asked[1:]) == {("me/bark", commit, "t", str(tmp_path))}
    assert len(asked) == 6


class FakeApi:
    """HfApi that writes down what it is asked for."""

    uploads: list[dict[str, Any]]

    def __init__(self, **options: Any) -> None:
        pass

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        return type("Repo", (), {"repo_id": f"me/{repo_id}"})

    def upload_folder(self, **kwargs: Any) -> str:
        index = Path(kwargs["folder_path"]) / "speaker_embeddings_path.json"
        self.uploads.append({**kwargs, "index": json.loads(index.read_text())})
        return "https://hub.invalid/commit"


@pytest.mark.parametrize("way", ["push_to_hub", "save_pretrained"])
def test_pushing(processor: Any, tmp_path: Path, monkeypatch: Any, way: str) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(FakeApi, "uploads", [], raising=False)
    if way == "push_to_hub":
        processor.push_to_hub("voices", token="t")
    else:
        processor.save_pretrained(tmp_path / "voices", push_to_hub=True)
    (upload,) = FakeApi.uploads
    assert upload["repo_id"] == "me/voices"
    assert upload["index"]["repo_or_path"] == "voices"
    assert {"tokenizer.json", "processor_config.json"} < set(upload["allow_patterns"])
    assert "speaker_embeddings/v2/en_speaker_2_coarse_prompt.npy" in upload["allow_patterns"]
