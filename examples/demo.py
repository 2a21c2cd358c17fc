"""Real speech to tokens and back with the embedded codec: a table, out.wav and a picture.

python examples/demo.py --output demo-out
"""

import argparse
import copy
import time
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path

import matplotlib as mpl
import torch
from pystoi import stoi

import vivace
from vivace.cli.quality import mel_distance, si_sdr

mpl.use("Agg")
import matplotlib.pyplot as plt

CLIP = "assets/speech/sense_and_sensibility.wav"


def best_seconds(function, repeats=5):
    """The fastest of several runs, after one that warms up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def picture(path: Path, clips: dict[str, torch.Tensor], rate: int) -> None:
    """Waveform and spectrogram of every clip, one column each."""
    figure, axes = plt.subplots(2, len(clips), figsize=(4.6 * len(clips), 5), sharex="col")
    for column, (name, audio) in zip(axes.T, clips.items(), strict=True):
        samples = audio[0].numpy()
        column[0].plot(torch.arange(len(samples)) / rate, samples, linewidth=0.4)
        column[0].set(title=name, ylim=(-1, 1))
        column[1].specgram(samples + 1e-5, NFFT=512, Fs=rate, noverlap=384, vmin=-140, vmax=-30)
        column[1].set(xlabel="seconds")
    axes[0, 0].set_ylabel("amplitude")
    axes[1, 0].set_ylabel("Hz")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def speed(model: vivace.DacModel, audio: torch.Tensor) -> None:
    """The same model by torch alone and by the kernels of this machine."""
    seconds = audio.shape[-1] / model.config.sampling_rate
    titles = ("precision", "run by", "encode", "decode", "speed-up")
    print(" | ".join(f"{title:>13}" for title in titles))
    for dtype in (torch.float32, torch.bfloat16):
        typed, x = copy.deepcopy(model).to(dtype), audio.to(dtype)
        codes = typed.encode(x).audio_codes
        calls = (partial(typed.encode, x), partial(typed.decode, audio_codes=codes))
        alone = 0.0
        for backend, name in (("torch", "torch"), ("auto", "vivace")):
            with vivace.backend(backend):
                times = [best_seconds(call, repeats=3) for call in calls]
            alone = alone or sum(times)
            row = (
                str(dtype).removeprefix("torch."),
                name,
                *(f"{seconds / t:.0f} x real" for t in times),
                f"{alone / sum(times):.1f} x",
            )
            print(" | ".join(f"{cell:>13}" for cell in row))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-out"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)

    model = vivace.DacModel.from_pretrained("vivace/tiny-16khz")
    rate, hop = model.config.sampling_rate, model.config.hop_length
    with as_file(files("vivace") / CLIP) as path:
        clip, _ = vivace.audio.load(path, sample_rate=rate)
    padded = torch.nn.functional.pad(clip, (0, -clip.shape[1] % hop))[None]
    seconds = clip.shape[1] / rate

    print(
        f"{seconds:.1f} s of read speech at {rate} Hz, {16 * rate / 1000:.0f} kbit/s as 16-bit PCM"
    )
    header = ("codebooks", "kbit/s", "STOI", "SI-SDR dB", "mel dist.", "encode", "decode")
    print(" | ".join(f"{title:>11}" for title in header))
    clips = {"original": clip}
    books = model.config.n_codebooks
    for n in (books, books // 2):
        codes = model.encode(padded, n).audio_codes
        audio = model.decode(audio_codes=codes).audio_values[:, : clip.shape[1]]
        audio = torch.nn.functional.pad(audio, (0, clip.shape[1] - audio.shape[1]))
        kilobits = codes.numel() * model.bits_per_codebook / seconds / 1000
        encode_s = best_seconds(lambda n=n: model.encode(padded, n))
        decode_s = best_seconds(lambda codes=codes: model.decode(audio_codes=codes))
        row = (
            f"{n}",
            f"{kilobits:.2f}",
            f"{stoi(clip[0].numpy(), audio[0].numpy(), rate):.3f}",
            f"{si_sdr(clip, audio):.2f}",
            f"{mel_distance(clip, audio, rate):.3f}",
            f"{seconds / encode_s:.0f} x real",
            f"{seconds / decode_s:.0f} x real",
        )
        print(" | ".join(f"{cell:>11}" for cell in row))
        name = f"{n} codebooks, {kilobits:.1f} kbit/s"
        clips[name] = audio
        vivace.audio.save(output / ("out.wav" if n == books else "out-half.wav"), audio, rate)
    print()
    speed(model, padded)
    vivace.DacFile.encode(model, clip, rate).save(output / "clip.dac")
    picture(output / "demo.png", clips, rate)
    print(f"wrote out.wav, out-half.wav, clip.dac and demo.png to {output}/")


if __name__ == "__main__":
    main()
