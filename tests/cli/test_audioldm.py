"""`vivace audioldm` in process, on a tiny pipeline: sounds, options, files, failures."""

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
from tests.pipelines import helpers
from vivace import AudioLDMPipeline, audio, schedulers
from vivace.cli import app, sound

RATE = 16_000
SECONDS = 0.4
STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audioldm")
    with torch.random.fork_rng():
        torch.manual_seed(20261121)
        helpers.pair(path)
    return path / "pipeline"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pipeline(folder: Path) -> Any:
    made = AudioLDMPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


def audioldm(*arguments: object, length: bool = True) -> Result:
    more = ("--steps", STEPS, *(("--seconds", SECONDS) if length else ()))
    return CliRunner().invoke(app, ["audioldm", *map(str, (*arguments, *more))])


def heard(result: Result, path: str = "audioldm.wav") -> np.ndarray:
    """The samples of a file that a command wrote."""
    assert result.exit_code == 0, result.output
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    return np.asarray(samples)


def generated(pipeline: Any, *args: Any, seed: int = 3, **kwargs: Any) -> np.ndarray:
    options = {"audio_length_in_s": SECONDS, "num_inference_steps": STEPS, **kwargs}
    made = pipeline(*args, generator=helpers.generator(seed), **options).audios
    assert made.any()
    return audio.to_pcm16(made[0])


def test_a_file_with_what_the_library_makes(folder: Path, pipeline: Any) -> None:
    done = audioldm("a dog", "--model", folder, "--seed", 3)
    assert np.array_equal(heard(done), generated(pipeline, "a dog"))
    assert done.stderr == ""
    assert re.fullmatch(
        r"audioldm\.wav  0\.40 s of audio in [\d.]+ s  real-time factor [\d.]+  seed 3\n",
        done.stdout,
    )
    assert os.listdir() == ["audioldm.wav"]
    quiet = audioldm("a dog", "--model", folder, "--seed", 3, "-q", "-o", "deep/a.flac")
    assert quiet.output == ""
    assert np.array_equal(heard(quiet, "deep/a.flac"), heard(done))


def test_options_reach_the_pipeline(folder: Path, pipeline: Any) -> None:
    common = ("a dog", "--model", folder, "--seed", 3, "--force")
    samples = heard(audioldm(*common, "--guidance", 4, "--negative", "noise"))
    expected = generated(pipeline, "a dog", guidance_scale=4.0, negative_prompt="noise")
    assert np.array_equal(samples, expected)
    samples = heard(audioldm(*common, "--dtype", "bfloat16", "--device", "cpu"))
    assert np.array_equal(samples, generated(pipeline.to(torch.bfloat16), "a dog"))


@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    [
        ("ddim", "DDIMScheduler", {}),
        ("pndm", "PNDMScheduler", {"skip_prk_steps": True}),
        ("lms", "LMSDiscreteScheduler", {}),
        ("euler", "EulerDiscreteScheduler", {}),
        ("euler-ancestral", "EulerAncestralDiscreteScheduler", {}),
        ("dpm++", "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
        ("dpm++-karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("unipc", "UniPCMultistepScheduler", {}),
    ],
)
def test_schedulers(
    folder: Path, pipeline: Any, name: str, kind: str, changes: dict[str, Any]
) -> None:
    done = audioldm("a dog", "--model", folder, "--seed", 3, "--scheduler", name)
    made = getattr(schedulers, kind).from_config(pipeline.scheduler.config, **changes)
    pipeline.scheduler = made
    assert np.array_equal(heard(done), generated(pipeline, "a dog"))


def test_seeds(folder: Path) -> None:
    common = ("a dog", "--model", folder, "--force")
    drawn = audioldm(*common)
    samples = heard(drawn)
    seed = drawn.stdout.split("seed ")[1].strip()
    assert np.array_equal(samples, heard(audioldm(*common, "--seed", seed)))
    assert not np.array_equal(samples, heard(audioldm(*common)))


def test_several_sounds(folder: Path) -> None:
    """Each is that of its own seed, up to the rounding of another batch size."""
    done = audioldm("a dog", "--model", folder, "--seed", 5, "--count", 3, "-o", "x.wav")
    sounds = [heard(done, f"x-{i}.wav") for i in (1, 2, 3)]
    assert sorted(os.listdir()) == ["x-1.wav", "x-2.wav", "x-3.wav"]
    assert done.stdout.startswith("x-1.wav ... x-3.wav  3 x 0.40 s of audio in ")
    for index, samples in enumerate(sounds):
        alone = heard(audioldm("a dog", "--model", folder, "--seed", 5 + index, "--force"))
        assert np.abs(samples.astype(int) - alone).max() <= 4
    assert not np.array_equal(*sounds[:2])


def test_init_audio(folder: Path, pipeline: Any) -> None:
    """The length of the file; --strength says how much changes."""
    waveform = torch.randn(2, 4411, generator=helpers.generator(9)) * 0.1
    path = audio.save("in.wav", waveform, 44_100, subtype="FLOAT")
    common = ("a dog", "--model", folder, "--seed", 3, "--force", "--init-audio", path)
    made = {}
    for options in ((), ("--strength", 0.5), ("--strength", 0), ("--strength", 1)):
        made[options] = heard(audioldm(*common, *options, length=False))
    assert {len(samples) for samples in made.values()} == {1600}
    assert np.array_equal(made[()], made[("--strength", 0.5)])
    for strength in (0.5, 0, 1):
        expected = pipeline.audio_to_audio(
            "a dog", path, strength, num_inference_steps=STEPS, generator=helpers.generator(3)
        )
        assert np.array_equal(made["--strength", strength], audio.to_pcm16(expected.audios[0]))


def test_plot(folder: Path) -> None:
    done = audioldm("$ a_dog", "--model", folder, "--count", 2, "--plot", "mel/x.png")
    heard(done, "audioldm-2.wav")
    assert Path("mel/x.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir("mel") == ["x.png"]


def test_plot_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = audioldm("a dog", "--model", folder, "--plot", "x.png")
    message = "--plot needs matplotlib, which is not installed: pip install 'vivace[bench]'"
    assert (done.exit_code, done.stderr) == (1, f"error: {message}\n")
    assert os.listdir() == []


def test_threads(folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        heard(audioldm("a dog", "--model", folder, "--threads", before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "the prompt is empty"),
        ((" \n",), "the prompt is empty"),
        (("a", "--device", "abacus"), "cannot use the model"),
        (("a", "--model", "nothing"), "cannot use the model nothing"),
        (("a", "-o", "there.wav"), "there.wav exists (--force overwrites)"),
        (("a", "-o", "there.wav", "--count", "2"), "there-2.wav exists (--force overwrites)"),
        (("a", "--plot", "there.png"), "there.png exists (--force overwrites)"),
        (("a", "--seconds", "0.01"), "`audio_length_in_s` has to be"),
    ],
)
def test_failures_are_one_line(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    for name in ("there.wav", "there-2.wav", "there.png"):
        Path(name).write_bytes(b"precious")
    Path("nothing").mkdir()
    before = sorted(os.listdir())
    model = () if "--model" in arguments else ("--model", str(folder))
    seconds = () if "--seconds" in arguments else ("--seconds", SECONDS)
    failed(audioldm(*arguments, *model, *seconds, length=False), message)
    assert sorted(os.listdir()) == before
    assert Path("there.wav").read_bytes() == b"precious"


def test_failures_with_audio_are_one_line(folder: Path) -> None:
    Path("bad.wav").write_bytes(b"bad")
    common = ("a", "--model", folder, "--init-audio", "bad.wav")
    failed(audioldm(*common, length=False), "bad.wav is not an audio file")
    overwriting = audioldm(*common, "-o", "bad.wav", "--force", length=False)
    failed(overwriting, "bad.wav is the input and would be overwritten")
    assert os.listdir() == ["bad.wav"]


def failed(done: Result, message: str) -> None:
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_failure_while_writing_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vivace.cli import sound_plot

    def fails(*args: Any) -> None:
        raise OSError("the disk is\nfull")

    monkeypatch.setattr(sound_plot, "draw", fails)
    done = audioldm("a dog", "--model", folder, "--count", 2, "--plot", "x.png")
    failed(done, "error: the disk is full")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seconds", "0"),
        ("--seconds", "nan"),
        ("--steps", "0"),
        ("--steps", "1001"),
        ("--guidance", "-1"),
        ("--guidance", "inf"),
        ("--scheduler", "magic"),
        ("--seed", "-1"),
        ("--strength", "0.5"),
        ("--strength", "1.5"),
        ("--init-audio", "gone.wav"),
        ("--count", "0"),
        ("--dtype", "int8"),
        ("--threads", "0"),
        ("--plot", "x.jpg"),
        ("--output", "out.txt"),
    ],
)
def test_wrong_options(arguments: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["audioldm", "a dog", "--model", "nothing", *arguments])
    assert done.exit_code == 2
    assert arguments[0] in done.stderr


def test_contradictions() -> None:
    done = audioldm("a dog", "--init-audio", __file__, "--model", "nothing")
    assert done.exit_code == 2
    assert "the length of --init-audio" in done.stderr
    assert CliRunner().invoke(app, ["audioldm"]).exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=["audioldm", "--help"])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: vivace audioldm [OPTIONS]" in done.stdout


def test_the_bar_shows_the_time_of_a_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(SystemExit) as stop:
        app(
            ["audioldm", "a dog", "--model", str(folder), "--steps", "3", "--seconds", "0.4"],
            prog_name="vivace",
        )
    assert not stop.value.code
    shown = capsys.readouterr()
    assert "denoising 100%" in shown.err
    assert re.search(r"3/3 \[.*s/step\]", shown.err)
    assert shown.out.startswith("audioldm.wav  0.40 s")


def test_every_name_has_a_scheduler() -> None:
    from vivace.cli.audioldm import Scheduler

    assert {each.value for each in Scheduler} == set(sound._SCHEDULERS)
