"""vivace.audio: files, sample formats, resampling, channels, and what it refuses."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vivace import audio


def tone(rate: int, seconds: float, frequency: float = 440.0, channels: int = 1) -> torch.Tensor:
    phase = torch.arange(round(rate * seconds), dtype=torch.float64) / rate * frequency
    wave = 0.5 * torch.sin(2 * torch.pi * phase)
    return torch.stack([wave / (c + 1) for c in range(channels)]).float()


@pytest.mark.parametrize(
    ("subtype", "step"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-23), ("FLOAT", 0)]
)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_lossless_round_trip(tmp_path: Path, subtype: str, step: float, channels: int) -> None:
    clip = torch.rand(channels, 4801) * 1.9 - 0.95
    path = audio.save(tmp_path / "clip.wav", clip, 22050, subtype=subtype)
    back, rate = audio.load(path)
    assert rate == 22050
    assert back.dtype == torch.float32
    assert back.shape == clip.shape
    assert (back - clip).abs().max() <= step / 2
    assert os.listdir(tmp_path) == ["clip.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aif"])
def test_int16_comes_back_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    clip = torch.randint(-32768, 32768, (2, 999), dtype=torch.int16)
    clip[0, :2] = torch.tensor([-32768, 32767])
    path = audio.save(tmp_path / f"clip{suffix}", clip, 44100)
    samples, _ = soundfile.read(path, dtype="int16")
    assert np.array_equal(samples.T, clip.numpy())
    back, _ = audio.load(path)
    assert torch.equal(back * 32768, clip.float())


@pytest.mark.parametrize(
    ("suffix", "rate", "floor_db"), [(".ogg", 44100, 20), (".mp3", 44100, 20), (".opus", 48000, 10)]
)
def test_lossy_formats_keep_the_sound(
    tmp_path: Path, suffix: str, rate: int, floor_db: float
) -> None:
    clip = tone(rate, 1.0, channels=2)
    back, found = audio.load(audio.save(tmp_path / f"clip{suffix}", clip, rate))
    assert found == rate
    length = min(back.shape[1], clip.shape[1])
    assert abs(back.shape[1] - clip.shape[1]) < 3000
    error = back[:, 3000 : length - 3000] - clip[:, 3000 : length - 3000]
    assert 10 * torch.log10(clip.square().mean() / error.square().mean()) > floor_db


def test_long_vorbis_is_written_in_blocks(tmp_path: Path) -> None:
    clip = 0.1 * torch.randn(1, 300_000)
    back, _ = audio.load(audio.save(tmp_path / "long.ogg", clip, 48000))
    assert back.shape == clip.shape


def test_clipping_is_explicit(tmp_path: Path) -> None:
    clip = torch.tensor([[0.0, 1.5, -2.0, 1.0]])
    back, _ = audio.load(audio.save(tmp_path / "a.wav", clip, 8000))
    assert torch.allclose(back, torch.tensor([[0.0, 1.0, -1.0, 1.0]]), atol=2**-15)
    with pytest.raises(ValueError, match="within ±1"):
        audio.save(tmp_path / "b.wav", clip, 8000, clip=False)
    assert not (tmp_path / "b.wav").exists()
    kept, _ = audio.load(audio.save(tmp_path / "c.wav", clip, 8000, subtype="FLOAT", clip=False))
    assert torch.equal(kept, clip)


def test_save_accepts_one_dimension_numpy_and_half_precision(tmp_path: Path) -> None:
    clip = tone(16000, 0.1)[0]
    for given in (clip, clip.numpy(), clip.numpy().astype(np.float64), clip.bfloat16()):
        back, _ = audio.load(audio.save(tmp_path / "clip.wav", given, 16000))
        assert back.shape == (1, 1600)
        assert (back[0] - clip).abs().max() < 4e-3


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = audio.save(tmp_path / "clip.wav", tone(8000, 0.1), 8000)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(soundfile.SoundFile, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        audio.save(path, tone(8000, 0.2), 8000)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["clip.wav"]


def test_load_a_part_and_mono(tmp_path: Path) -> None:
    clip = torch.rand(2, 8000) - 0.5
    path = audio.save(tmp_path / "clip.wav", clip, 8000, subtype="FLOAT")
    part, _ = audio.load(path, start_s=0.25, duration_s=0.5)
    assert torch.equal(part, clip[:, 2000:6000])
    tail, _ = audio.load(path, start_s=0.75, duration_s=10)
    assert torch.equal(tail, clip[:, 6000:])
    mono, rate = audio.load(path, mono=True, sample_rate=16000)
    assert rate == 16000
    assert mono.shape == (1, 16000)
    for bad in (
        {"start_s": 1.0},
        {"start_s": -1.0},
        {"duration_s": 0.0},
        {"start_s": float("nan")},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            audio.load(path, **bad)


@pytest.mark.parametrize(("orig", "new"), [(44100, 16000), (16000, 44100), (48000, 24000)])
def test_resample_keeps_a_tone(orig: int, new: int) -> None:
    got = audio.resample(tone(orig, 0.5, channels=2), orig, new)
    assert got.shape == (2, round(new * 0.5))
    inner = slice(new // 10, -new // 10)
    assert torch.allclose(got[:, inner], tone(new, 0.5, channels=2)[:, inner], atol=1e-4)


def test_resample_edges() -> None:
    clip = torch.rand(3, 17) - 0.5
    assert torch.equal(audio.resample(clip, 8000, 8000), clip)
    assert audio.resample(torch.ones(1), 44100, 8000).shape == (1,)
    assert audio.resample(torch.ones(2, 1), 44100, 8000).shape == (2, 1)
    silent = audio.resample(torch.zeros(100, dtype=torch.int16), 100, 200)
    assert torch.equal(silent, torch.zeros(200))


def test_to_mono() -> None:
    assert torch.equal(
        audio.to_mono(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), torch.full((1, 2), 0.5)
    )
    assert audio.to_mono(torch.zeros(7)).shape == (1, 7)


@pytest.mark.parametrize(
    ("clip", "error", "match"),
    [
        (torch.zeros(1, 2, 3), ValueError, r"shape .*got \(1, 2, 3\)"),
        (torch.tensor(1.0), ValueError, "shape"),
        (torch.zeros(1, 0), ValueError, "empty"),
        (torch.tensor([0.0, float("nan")]), ValueError, "finite"),
        (torch.tensor([float("inf"), 0.0]), ValueError, "finite"),
        (torch.zeros(5, dtype=torch.int64), TypeError, "int16"),
    ],
)
def test_bad_audio(tmp_path: Path, clip: torch.Tensor, error: type, match: str) -> None:
    for call in (
        lambda: audio.save(tmp_path / "x.wav", clip, 8000),
        lambda: audio.resample(clip, 8000, 16000),
        lambda: audio.to_mono(clip),
    ):
        with pytest.raises(error, match=match):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [0, -1, 44100.0, "44100", None])
def test_bad_rates(tmp_path: Path, rate: object) -> None:
    clip = torch.zeros(1, 10)
    path = audio.save(tmp_path / "ok.wav", clip, 8000)
    calls = [
        lambda: audio.save(tmp_path / "x.wav", clip, rate),  # type: ignore[arg-type]
        lambda: audio.resample(clip, rate, 8000),  # type: ignore[arg-type]
        lambda: audio.resample(clip, 8000, rate),  # type: ignore[arg-type]
    ]
    if rate is not None:
        calls.append(lambda: audio.load(path, sample_rate=rate))  # type: ignore[arg-type]
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=r"sample_rate|orig|new"):
            call()


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        audio.load(tmp_path / "missing.wav")
    with pytest.raises(IsADirectoryError):
        audio.load(tmp_path)
    for name, content in (
        ("text.wav", b"no audio at all" * 99),
        ("zero.wav", b""),
        ("x.raw", b"12"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not an audio file"):
            audio.load(tmp_path / name)
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), 8000)
    with pytest.raises(ValueError, match="no samples"):
        audio.load(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="NaN"):
        audio.load(tmp_path / "nan.wav")


def test_bad_targets(tmp_path: Path) -> None:
    clip = torch.zeros(1, 10)
    for name in ("clip", "clip.xyz", "clip.raw"):
        with pytest.raises(ValueError, match="must end in"):
            audio.save(tmp_path / name, clip, 8000)
    with pytest.raises(ValueError, match="subtype"):
        audio.save(tmp_path / "clip.flac", clip, 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="9 channels"):
        audio.save(tmp_path / "clip.flac", torch.zeros(9, 10), 8000)
    with pytest.raises(FileNotFoundError):
        audio.save(tmp_path / "no" / "folder.wav", clip, 8000)
    assert not list(tmp_path.iterdir())


def test_no_warnings_on_ordinary_use(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audio.load(audio.save(tmp_path / "a.wav", tone(8000, 0.1), 8000), sample_rate=16000)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_pieces_are_written_as_the_whole(tmp_path: Path, suffix: str) -> None:
    clip = 1.5 * torch.rand(2, 1000) - 0.75
    whole = audio.save(tmp_path / f"whole{suffix}", clip, 24000)
    with audio.writer(tmp_path / f"pieces{suffix}", 24000, 2) as write:
        for piece in clip.split([1, 600, 399], dim=1):
            write(piece)
        assert not (tmp_path / f"pieces{suffix}").exists()
    assert (tmp_path / f"pieces{suffix}").read_bytes() == whole.read_bytes()
    stored, _ = soundfile.read(whole, dtype="int16")
    assert np.array_equal(audio.to_pcm16(clip), stored.T)


def test_to_pcm16() -> None:
    pcm = audio.to_pcm16(torch.tensor([0.0, -1.0, 1.0, 3.0, -3.0, 2**-15, 0.4 * 2**-15]))
    assert pcm.dtype == np.int16
    assert pcm.tolist() == [0, -32768, 32767, 32767, -32768, 1, 0]
    with pytest.raises(ValueError, match=r"to_pcm16.*finite"):
        audio.to_pcm16(torch.tensor([float("nan")]))


@pytest.mark.parametrize(
    ("pieces", "match"),
    [
        ([], "no audio"),
        ([torch.zeros(2, 10), torch.zeros(1, 10)], "2 channels, got 1"),
        ([torch.zeros(2, 10), torch.full((2, 10), float("nan"))], "finite"),
    ],
)
def test_a_writer_that_fails_leaves_nothing(
    tmp_path: Path, pieces: list[torch.Tensor], match: str
) -> None:
    def write_all() -> None:
        with audio.writer(tmp_path / "clip.wav", 8000, 2) as write:
            for piece in pieces:
                write(piece)

    with pytest.raises(ValueError, match=match):
        write_all()
    assert not list(tmp_path.iterdir())
