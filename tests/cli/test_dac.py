"""`vivace dac` in process: files, trees, failures, JSON, overwriting."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from vivace import DacConfig, DacFile, DacModel, audio
from vivace.cli import app

RATE = 8000
HOP = 16


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = DacConfig(
        sampling_rate=RATE,
        downsampling_ratios=[4, 4],
        encoder_hidden_size=4,
        decoder_hidden_size=16,
        n_codebooks=4,
        codebook_dim=4,
    )
    torch.manual_seed(0)
    model = DacModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter.data, std=0.2)
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """in/a.wav (1 s mono), in/deep/b.flac (0.5 s stereo at another rate)."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    audio.save(folder / "a.wav", 0.1 * torch.randn(1, RATE), RATE)
    audio.save(folder / "deep" / "b.flac", 0.1 * torch.randn(2, 11025), 22050)
    return folder


def vivace(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def records(result: Result) -> dict[str, Any]:
    """Files of the JSON document by the name of the input; stdout must hold nothing else."""
    return {Path(f["input"]).name: f for f in json.loads(result.stdout)["files"]}


def test_encode_then_decode_a_tree(tmp_path: Path, sounds: Path, model_dir: Path) -> None:
    codes, back = tmp_path / "codes", tmp_path / "back"
    done = vivace("dac", "encode", sounds, "--output", codes, "--model", model_dir)
    assert done.exit_code == 0, done.output
    assert "a.wav -> " in done.stdout
    assert done.stderr == ""
    file = DacFile.load(codes / "deep" / "b.dac")
    assert (file.channels, file.sample_rate, file.original_length) == (2, 22050, 11025)
    model = DacModel.from_pretrained(model_dir)
    clip, rate = audio.load(sounds / "a.wav")
    expected = DacFile.encode(model, clip, rate)
    assert torch.equal(DacFile.load(codes / "a.dac").codes, expected.codes)

    done = vivace("dac", "decode", codes, "-o", back, "--model", model_dir, "--json")
    assert done.exit_code == 0, done.output
    decoded, rate = audio.load(back / "deep" / "b.wav")
    assert rate == 22050
    assert decoded.shape == (2, 11025)
    assert torch.allclose(decoded, file.decode(model)[0], atol=2**-15)
    assert {p.name for p in back.rglob("*")} == {"a.wav", "deep", "b.wav"}


def test_json_document(tmp_path: Path, sounds: Path, model_dir: Path) -> None:
    done = vivace(
        "dac",
        "encode",
        sounds,
        "-o",
        tmp_path / "o",
        "--model",
        model_dir,
        "--codebooks",
        3,
        "--json",
    )
    document = json.loads(done.stdout)
    assert (document["command"], document["model"]) == ("encode", str(model_dir))
    assert document["failed"] == 0
    record = records(done)["a.wav"]
    assert record["output"] == str(tmp_path / "o" / "a.dac")
    assert record["seconds"] == 1.0
    assert record["codes_shape"] == [1, 3, RATE // HOP]
    assert record["bitrate"] == 3 * 10 * RATE / HOP
    assert record["real_time_factor"] > 0
    assert record["error"] is None


def test_roundtrip_reports_quality(tmp_path: Path, sounds: Path, model_dir: Path) -> None:
    arguments = ("dac", "roundtrip", sounds / "a.wav", "-o", tmp_path / "o", "--model", model_dir)
    done = vivace(*arguments, "--json")
    assert done.exit_code == 0, done.output
    record = records(done)["a.wav"]
    assert record["si_sdr_db"] < 10  # the model is random
    assert record["mel_distance"] > 0
    assert audio.load(tmp_path / "o" / "a.wav")[0].shape == (1, RATE)
    text = vivace(*arguments, "--force").stdout
    assert "si_sdr_db" in text
    assert "kbit/s" in text


def test_chunks_give_the_same_codes(tmp_path: Path, sounds: Path, model_dir: Path) -> None:
    for name, more in (("whole", ()), ("chunks", ("--chunk-length-s", "0.25"))):
        done = vivace("dac", "encode", sounds, "-o", tmp_path / name, "--model", model_dir, *more)
        assert done.exit_code == 0, done.output
    whole, chunks = (DacFile.load(tmp_path / name / "a.dac").codes for name in ("whole", "chunks"))
    assert (whole == chunks).double().mean() > 0.99


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_and_device(tmp_path: Path, sounds: Path, model_dir: Path, dtype: str) -> None:
    done = vivace(
        "dac", "roundtrip", sounds, "-o", tmp_path / "o", "--model", model_dir,
        "--dtype", dtype, "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output


def test_one_bad_file_does_not_stop_the_others(
    tmp_path: Path, sounds: Path, model_dir: Path
) -> None:
    (sounds / "broken.wav").write_bytes(b"not audio")
    common = ("-o", tmp_path / "o", "--model", model_dir)
    done = vivace("dac", "encode", tmp_path / "gone.wav", sounds, *common)
    assert done.exit_code == 1
    assert "broken.wav is not an audio file" in done.stderr
    assert "gone.wav does not exist" in done.stderr
    assert "2 of 4 files failed" in done.stderr
    assert (tmp_path / "o" / "a.dac").exists()
    assert sorted(p.name for p in (tmp_path / "o").rglob("*.*")) == ["a.dac", "b.dac"]

    done = vivace("dac", "encode", sounds, *common, "--json", "--force")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failed"] == 1
    bad = records(done)["broken.wav"]
    assert bad["error"]
    assert bad["codes_shape"] is None


def test_existing_files_are_kept_unless_forced(
    tmp_path: Path, sounds: Path, model_dir: Path
) -> None:
    arguments = ("dac", "encode", sounds / "a.wav", "-o", tmp_path / "o", "--model", model_dir)
    assert vivace(*arguments).exit_code == 0
    target = tmp_path / "o" / "a.dac"
    target.write_bytes(b"precious")
    done = vivace(*arguments)
    assert done.exit_code == 1
    assert "--force" in done.stderr
    assert target.read_bytes() == b"precious"
    assert vivace(*arguments, "--force").exit_code == 0
    assert DacFile.load(target).original_length == RATE
    assert os.listdir(tmp_path / "o") == ["a.dac"]


def test_foreign_dac_files(tmp_path: Path, sounds: Path, model_dir: Path) -> None:
    bad = tmp_path / "bad.dac"
    bad.write_bytes((sounds / "a.wav").read_bytes())
    done = vivace("dac", "decode", bad, "-o", tmp_path / "o", "--model", model_dir)
    assert done.exit_code == 1
    assert "not a readable .dac file" in done.stderr


def test_unusable_models(tmp_path: Path, sounds: Path, model_dir: Path) -> None:
    (tmp_path / "nothing").mkdir()
    common = ("dac", "encode", sounds, "-o", tmp_path / "o")
    for arguments in (
        ("--model", tmp_path / "nothing"),
        ("--model", model_dir, "--codebooks", 5),
        ("--model", model_dir, "--device", "abacus"),
    ):
        done = vivace(*common, *arguments)
        assert done.exit_code == 1
        assert "cannot use the model" in done.stderr
        assert done.exception is None or isinstance(done.exception, SystemExit)
        done = vivace(*common, *arguments, "--json")
        assert done.exit_code == 1
        assert "cannot use the model" in json.loads(done.stdout)["error"]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--codebooks", "0"),
        ("--chunk-length-s", "0"),
        ("--chunk-length-s", "nan"),
        ("--dtype", "int8"),
    ],
)
def test_wrong_options(tmp_path: Path, sounds: Path, arguments: tuple[str, str]) -> None:
    done = vivace("dac", "encode", sounds, "-o", tmp_path / "o", *arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.stderr


def test_the_embedded_codec_is_the_default_model(tmp_path: Path) -> None:
    clip = files("vivace") / "assets/speech/sense_and_sensibility.wav"
    done = vivace("dac", "roundtrip", clip, "--output", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    (record,) = records(done).values()
    assert record["error"] is None
    assert record["codes_shape"][:2] == [1, 8]
