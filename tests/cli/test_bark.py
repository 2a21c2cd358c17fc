"""`vivace bark` in process, on a tiny model: audio, streams, voices, files, failures."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from tests.cli.test_main import HELP
from tests.models.bark import helpers
from tests.models.bark.vocabulary import write_vocab
from vivace import audio
from vivace.cli import app
from vivace.cli.stage_bars import StageBars
from vivace.models.bark import BarkModel, BarkProcessor
from vivace.models.bark.tokenizer import BertTokenizer
from vivace.models.bark.voices import load_voice

RATE = 24_000
TOKENS = 20
FRAMES = int(TOKENS * 75 / 49.9)
SAMPLES = FRAMES * 320
THREE = "Hello world.\n\nMy dog is cute.\n\nThe little egg laughs."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bark that says 20 semantic tokens per sentence, with two voices."""
    path = tmp_path_factory.mktemp("bark")
    with torch.random.fork_rng():
        torch.manual_seed(20261121)
        _, model = helpers.pair(path)
        names = ("v2/en_speaker_10", "v2/en_speaker_2")
        for parameter in model.codec_model.parameters():
            if parameter.ndim > 1:  # as large as its input, so that every code is heard
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        spoken: dict[str, Any] = {name: helpers.history(158, 237) for name in names}
    model.generation_config.semantic_config.max_new_tokens = TOKENS
    model.generation_config.semantic_config.min_eos_p = 1e-6  # which ends each text at once
    model.save_pretrained(path)
    processor = BarkProcessor(BertTokenizer.from_pretrained(write_vocab(path)))
    for name, voice in spoken.items():
        processor.add_voice(name, voice)
    processor.save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def bark(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["bark", *map(str, arguments)], input=stdin)


def said(result: Result, path: str = "bark.wav") -> np.ndarray:
    """The samples of a file that a command wrote."""
    assert result.exit_code == 0, result.output
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    return np.asarray(samples)


def test_a_file_with_what_the_library_says(folder: Path) -> None:
    done = bark("Hello world", "--model", folder, "--seed", 3)
    samples = said(done)
    assert samples.shape == (SAMPLES,)
    assert done.stderr == ""
    assert re.fullmatch(
        r"bark\.wav  0\.40 s of audio in [\d.]+ s  real-time factor [\d.]+  "
        r"first audio after [\d.]+ s  seed 3\n",
        done.stdout,
    )
    expected = BarkModel.from_pretrained(folder).generate_long(
        "Hello world", BarkProcessor.from_pretrained(folder), do_sample=True, seed=3, min_eos_p=0.2
    )
    assert samples.any()
    assert np.array_equal(samples, audio.to_pcm16(expected))


def test_the_stream_is_the_file(folder: Path) -> None:
    common = (THREE, "--model", folder, "--seed", 5, "--voice", "v2/en_speaker_2")
    samples = said(bark(*common, "-o", "deep/a.flac"), "deep/a.flac")
    assert len(samples) == 3 * SAMPLES + 2 * RATE // 4
    done = bark(*common, "--stream")
    assert done.exit_code == 0, done.output
    assert np.array_equal(np.frombuffer(done.stdout_bytes, "<i2"), samples)
    assert done.stderr.startswith("stdout  1.7")
    assert os.listdir() == ["deep"]
    both = bark(*common, "--stream", "-o", "b.wav", "--quiet")
    assert both.stderr == ""
    assert np.array_equal(np.frombuffer(both.stdout_bytes, "<i2"), said(both, "b.wav"))


def test_seeds(folder: Path) -> None:
    common = ("Hello", "--model", folder, "--force", "--top-k", 0)
    first, again = (said(bark(*common, "--seed", 1)) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, said(bark(*common, "--seed", 2)))
    drawn = bark(*common)
    samples = said(drawn)
    seed = drawn.stdout.split("seed ")[1].strip()
    assert np.array_equal(samples, said(bark(*common, "--seed", seed)))
    assert not np.array_equal(samples, said(bark(*common)))
    greedy = [said(bark("Hello", "--model", folder, "--force", "--greedy")) for _ in range(2)]
    assert np.array_equal(*greedy)


@pytest.mark.parametrize(
    ("options", "kwargs"),
    [
        (("--temperature", "0.5"), {"temperature": 0.5}),
        (
            (
                *("--semantic-temperature", "0.3", "--coarse-temperature", "1.5"),
                *("--fine-temperature", "none"),
            ),
            {"semantic_temperature": 0.3, "coarse_temperature": 1.5, "fine_temperature": None},
        ),
        (("--fine-temperature", "0.9", "--top-k", "3"), {"fine_temperature": 0.9, "top_k": 3}),
        (("--top-p", "0.4"), {"top_p": 0.4}),
        (("--min-eos-p", "3e-5"), {"min_eos_p": 3e-5}),
        (("--greedy",), {"do_sample": False, "fine_temperature": None}),
    ],
)
def test_sampling_options(folder: Path, options: tuple[str, ...], kwargs: dict[str, Any]) -> None:
    plain = said(bark("Hello", "--model", folder, "--seed", 4, "-o", "plain.wav"), "plain.wav")
    done = bark("Hello", "--model", folder, "--seed", 4, *options)
    expected = BarkModel.from_pretrained(folder).generate_long(
        "Hello",
        BarkProcessor.from_pretrained(folder),
        seed=4,
        **{"do_sample": True, "min_eos_p": 0.2, **kwargs},
    )
    samples = said(done)
    assert np.array_equal(samples, audio.to_pcm16(expected))
    assert not np.array_equal(samples, plain)


def test_min_eos_p_of_zero_is_off(folder: Path) -> None:
    done = bark("Hello", "--model", folder, "--seed", 4, "--min-eos-p", 0)
    assert len(said(done)) == SAMPLES


@pytest.mark.parametrize(
    "more", [("--dtype", "bfloat16"), ("--quantize", "int8"), ("--device", "cpu")]
)
def test_what_it_computes_in(folder: Path, more: tuple[str, str]) -> None:
    assert len(said(bark("Hello", "--model", folder, "--seed", 4, *more))) == SAMPLES


def test_threads(folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        said(bark("Hello", "--model", folder, "--threads", before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_text_from_files_and_stdin(folder: Path) -> None:
    Path("book.txt").write_bytes(b"\xef\xbb\xbf" + THREE.encode())
    common = ("--model", folder, "--seed", 6, "--silence", 0, "--force")
    from_file = said(bark("--file", "book.txt", *common))
    assert len(from_file) == 3 * SAMPLES
    for arguments in ((), ("-",)):
        piped = said(bark(*arguments, *common, stdin=THREE.encode()))
        assert np.array_equal(piped, from_file)
    previous = said(bark(THREE, *common, "--continue-from", "previous"))
    assert np.array_equal(previous[: 2 * SAMPLES], from_file[: 2 * SAMPLES])
    assert not np.array_equal(previous, from_file)


def test_a_saved_voice_can_be_used(folder: Path) -> None:
    common = ("--model", folder, "--seed", 7)
    assert bark("Hello", *common, "--save-voice", "mine/me").exit_code == 0
    voice = load_voice("mine/me.npz")
    assert voice["semantic_prompt"].shape == (TOKENS,)
    assert voice["coarse_prompt"].shape == (2, FRAMES)
    with_voice = said(bark("Hello", *common, "--voice", "mine/me.npz", "-o", "a.wav"), "a.wav")
    assert not np.array_equal(with_voice, said(bark("Hello", *common, "-o", "b.wav"), "b.wav"))
    again = bark("Hello", *common, "--save-voice", "mine/me", "-o", "c.wav")
    assert (again.exit_code, "exists" in again.stderr) == (1, True)
    assert not Path("c.wav").exists()


def test_the_voice_of_a_long_text_is_its_end(folder: Path) -> None:
    """Whole sentences, as many as 512 frames take: 18 of 20."""
    text = "\n\n".join(["Hello world."] * 20)
    done = bark(text, "--model", folder, "--seed", 7, "--save-voice", "long.npz")
    assert done.exit_code == 0, done.output
    voice = load_voice("long.npz")
    sentences = -(-512 // FRAMES)
    assert voice["semantic_prompt"].shape == (sentences * TOKENS,)
    assert voice["fine_prompt"].shape == (8, sentences * FRAMES)


def test_voices(folder: Path) -> None:
    done = bark("voices", "--model", folder)
    assert (done.exit_code, done.stdout) == (0, "v2/en_speaker_2\nv2/en_speaker_10\n")
    said(bark("--model", folder, "--", "voices"))  # the word
    (folder.parent / "mute").mkdir(exist_ok=True)
    write_vocab(folder.parent / "mute")
    none = bark("voices", "--model", folder.parent / "mute")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no voices" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "the text is empty"),
        ((" \n",), "the text is empty"),
        (("-",), "the text is empty"),
        (("--file", "latin.txt"), "latin.txt is not UTF-8 text"),
        (("Hello", "--voice", "v2/en_speeker_2"), "close: v2/en_speaker_2"),
        (("Hello", "--voice", "en_speaker_10"), "close: v2/en_speaker_10"),
        (("Hello", "--voice", "nobody at all"), "no voice 'nobody at all'"),
        (("Hello", "--voice", "bad.npz"), "bad.npz is no .npz file of a voice"),
        (("Hello", "--min-eos-p", "1e-6", "--save-voice", "x.npz"), "the model said nothing"),
        (("Hello", "--device", "abacus"), "cannot use the model"),
        (("Hello", "--model", "nothing"), "cannot use the model nothing"),
        (("voices", "--model", "nothing"), "cannot use the model nothing"),
        (("Hello", "-o", "there.wav"), "there.wav exists (--force overwrites)"),
    ],
)
def test_failures_are_one_line(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    Path("latin.txt").write_bytes("é".encode("latin-1"))
    Path("bad.npz").write_bytes(b"bad")
    Path("there.wav").write_bytes(b"precious")
    Path("nothing").mkdir()
    before = sorted(os.listdir())
    model = () if "--model" in arguments else ("--model", str(folder))
    done = bark(*arguments, *model, stdin=b"")
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert sorted(os.listdir()) == before
    assert Path("there.wav").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--temperature", "0"),
        ("--temperature", "nan"),
        ("--semantic-temperature", "-1"),
        ("--coarse-temperature", "inf"),
        ("--fine-temperature", "cold"),
        ("--fine-temperature", "0"),
        ("--top-k", "-1"),
        ("--top-p", "0"),
        ("--top-p", "nan"),
        ("--min-eos-p", "1.5"),
        ("--silence", "-1"),
        ("--threads", "0"),
        ("--seed", "-1"),
        ("--quantize", "int4"),
        ("--continue-from", "first"),
        ("--output", "out.txt"),
        ("--file", "gone.txt"),
    ],
)
def test_wrong_options(arguments: tuple[str, str]) -> None:
    done = bark("Hello", "--model", "nothing", *arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.stderr


def test_contradictions() -> None:
    for arguments in (("Hello", "--file", __file__), ("Hello", "--greedy", "--temperature", "1")):
        done = bark(*arguments, "--model", "nothing")
        assert done.exit_code == 2
        assert "Error: " in done.stderr


def test_a_failure_amid_the_speech_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = BarkModel.stream
    calls: list[Any] = []

    def fails_later(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("out of\nmemory")
        return stream(self, *args, **kwargs)

    monkeypatch.setattr(BarkModel, "stream", fails_later)
    done = bark(THREE, "--model", folder, "--save-voice", "me.npz")
    assert (done.exit_code, done.stderr) == (1, "error: out of memory\n")
    assert os.listdir() == []


def test_a_listener_who_leaves(folder: Path) -> None:
    """`vivace bark --stream | head`: the pipe breaks, and nobody hears of it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "vivace", "bark", "Hello", "--stream", "--model", str(folder)],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("arguments", [["bark", "--help"], ["bark", "voices", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Usage: vivace {' '.join(arguments[:-1])} [OPTIONS]" in done.stdout


def test_progress_on_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = BarkModel.from_pretrained(folder)
    processor = BarkProcessor.from_pretrained(folder)
    with StageBars(hidden=False) as bars:
        model.generate_long(
            THREE, processor, seed=1, min_eos_p=0.2, progress=bars, on_sentence=bars.sentence
        )
        counts = {stage: (bar.n, bar.total) for stage, bar in bars.bars.items()}
    assert counts["semantic"] == (TOKENS, TOKENS)
    assert counts["coarse"] == (2 * FRAMES, 2 * FRAMES)
    assert counts["fine"][0] == counts["fine"][1] > 0
    shown = capsys.readouterr()
    assert shown.out == ""
    for name in ("3/3 semantic tokens: 100%", "3/3 coarse tokens", "3/3 fine passes"):
        assert name in shown.err
    with StageBars(hidden=True) as bars:
        bars.sentence(0, 1, "Hello")
        bars("semantic", 1, 2)
    assert capsys.readouterr().err == ""


def test_the_example(folder: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "speak.py"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), "Hello world.", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("--model", folder, "--output", "speech.wav")
    assert done.returncode == 0, done.stderr
    assert "first audio after " in done.stdout
    assert audio.load("speech.wav")[0].shape == (1, SAMPLES)
    Path("nothing").mkdir()
    done = run("--model", "nothing")
    assert done.returncode == 1
    assert "This needs the weights of a Bark" in done.stderr
    assert "Traceback" not in done.stderr
