"""Collect the training audio of `vivace/tiny-16khz` from Debian packages: one int16 pool, 16 kHz.

Sources: asterisk core sounds in five languages (CC-BY-SA), sonic-pi samples (CC0),
espeak-ng speech.
The held-out set (pocketsphinx-testdata) is installed here too but never enters the pool.

    python tools/fetch_codec_data.py --output build/codec
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

SAMPLE_RATE = 16_000
LANGUAGES = ("en", "es", "fr", "it", "ru")
PACKAGES = (
    "ffmpeg",
    "espeak-ng",
    "sonic-pi-samples",
    "pocketsphinx-testdata",
    *(f"asterisk-core-sounds-{language}-g722" for language in LANGUAGES),
)
PROMPTS = Path("/usr/share/asterisk/sounds")
INSTRUMENTS = Path("/usr/share/sonic-pi/samples")
SENTENCES = {
    "en": (
        "The small boat drifted past the old lighthouse while the children counted its windows.",
        "Please bring three yellow boxes, a short rope and six fresh oranges to the workshop.",
        "She thought about the journey, laughed, and measured the fabric twice before cutting it.",
        "Why would anyone choose such a narrow path through the forest at this late hour?",
        "His voice was rough, yet every judge in the large hall heard him clearly on Thursday.",
    ),
    "es": (
        "El jardín de mi abuela tiene rosas, limones y un pozo muy profundo.",
        "Mañana llegará el tren de las nueve con quince viajeros y mucho equipaje.",
        "¿Quién guardó la llave pequeña debajo de aquella piedra junto al río?",
    ),
    "fr": (
        "Le vieux boulanger ouvre sa porte bien avant que le soleil ne se lève.",
        "Nous cherchons une grande chambre tranquille avec une vue sur le jardin.",
        "Pourquoi les oiseaux chantent-ils plus fort quand la pluie s'arrête enfin ?",
    ),
    "it": (
        "La finestra della cucina guarda verso le colline coperte di ulivi.",
        "Domani compreremo pane, formaggio e qualche bottiglia di acqua fresca.",
        "Chi ha dimenticato gli occhiali sopra il tavolo grande della biblioteca?",
    ),
    "ru": (
        "Старый мост через широкую реку построили ещё в прошлом веке.",
        "Вечером мы пили чай, слушали музыку и долго говорили о путешествиях.",
        "Почему никто не закрыл окно, когда начался сильный дождь?",
    ),
    "de": (
        "Der fleißige Gärtner pflanzt im Frühling zwölf junge Bäume hinter dem Haus.",
        "Könnten Sie mir bitte sagen, wie weit es noch bis zum Bahnhof ist?",
        "Nach dem heftigen Gewitter glänzten die Dächer der ganzen Stadt.",
    ),
    "pt": (
        "O barco azul voltou ao porto antes que a noite chegasse.",
        "As crianças encontraram uma concha enorme na praia deserta.",
    ),
    "nl": (
        "De jonge schilder zocht een rustige kamer dicht bij de gracht.",
        "Vanmiddag schijnt de zon, maar morgen gaat het zeker regenen.",
    ),
    "pl": (
        "Stary zegar na wieży wybił dziesiątą, gdy wyszliśmy na rynek.",
        "Czy możesz przynieść mi świeży chleb i trochę żółtego sera?",
    ),
}
VARIANTS = (
    *(f"m{i}" for i in range(1, 9)),
    *(f"f{i}" for i in range(1, 6)),
    *(
        "Annie",
        "Michael",
        "Andy",
        "Denis",
        "Gene",
        "Lee",
        "Mario",
        "Alicia",
        "belinda",
        "linda",
        "zac",
        "steph",
    ),
)


def install_missing_packages() -> None:
    """Install those Debian packages of `PACKAGES` that are missing; RuntimeError if that fails."""
    missing = [
        package
        for package in PACKAGES
        if shutil.which("dpkg-query") is None
        or "install ok installed"
        not in subprocess.run(
            ["dpkg-query", "-W", "-f=${Status}", package], capture_output=True, text=True
        ).stdout
    ]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"fetch_codec_data: needs Debian's apt-get to install {missing}")
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    install = [*prefix, "apt-get", "install", "--yes", "--no-install-recommends", *missing]
    subprocess.run([*prefix, "apt-get", "update"], check=False)
    if subprocess.run(install).returncode != 0:
        raise RuntimeError(f"fetch_codec_data: `{' '.join(install)}` failed")


def decode_file(path: Path) -> NDArray[np.int16]:
    """Decode any file that ffmpeg reads to mono int16 (samples,) at 16 kHz."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", str(path)]
    command += ["-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le", "-"]
    result = subprocess.run(command, capture_output=True)
    if result.returncode != 0:
        raise RuntimeError(f"fetch_codec_data: ffmpeg failed on {path}: {result.stderr.decode()}")
    return np.frombuffer(result.stdout, dtype=np.int16)


def synthesize(job: tuple[str, str, int, int]) -> NDArray[np.int16]:
    """Speak one (text, voice, words per minute, pitch 0..99); int16 (samples,) at 16 kHz."""
    text, voice, speed, pitch = job
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    result = subprocess.run(command, capture_output=True)
    if result.returncode != 0:
        raise RuntimeError(
            f"fetch_codec_data: espeak-ng failed on {voice}: {result.stderr.decode()}"
        )
    audio, rate = soundfile.read(io.BytesIO(result.stdout), dtype="float32")
    resampled = soxr.resample(audio, rate, SAMPLE_RATE)
    samples: NDArray[np.int16] = np.clip(resampled * 32767.0, -32768, 32767).astype(np.int16)
    return samples


def synthesis_jobs(count: int, seed: int) -> list[tuple[str, str, int, int]]:
    """Draw `count` random (text, voice, speed, pitch) combinations."""
    draw = random.Random(seed)
    jobs = []
    for _ in range(count):
        language = draw.choice(tuple(SENTENCES))
        voice = f"{language}+{draw.choice(VARIANTS)}"
        jobs.append(
            (draw.choice(SENTENCES[language]), voice, draw.randint(110, 230), draw.randint(20, 80))
        )
    return jobs


def trimmed(audio: NDArray[np.int16], threshold: int = 100) -> NDArray[np.int16]:
    """Cut the digital silence at both ends, keeping 50 ms."""
    loud = np.flatnonzero(np.abs(audio.astype(np.int32)) > threshold)
    if loud.size == 0:
        return audio[:0]
    margin = SAMPLE_RATE // 20
    return audio[max(0, loud[0] - margin) : loud[-1] + margin]


def collect(synthesized: int, seed: int) -> Iterator[tuple[str, str, NDArray[np.int16]]]:
    """Yield (kind, name, audio) for every clip; kinds are "speech", "music" and "synthetic"."""
    prompts = sorted(path for path in PROMPTS.rglob("*.g722") if "silence" not in path.parts)
    instruments = sorted(INSTRUMENTS.glob("*.flac"))
    if not prompts or not instruments:
        raise RuntimeError(f"fetch_codec_data: nothing found under {PROMPTS} or {INSTRUMENTS}")
    jobs = synthesis_jobs(synthesized, seed)
    with ThreadPoolExecutor(max_workers=2) as workers:
        for path, audio in zip(prompts, workers.map(decode_file, prompts), strict=True):
            yield "speech", str(path.relative_to(PROMPTS)), audio
        for path, audio in zip(instruments, workers.map(decode_file, instruments), strict=True):
            yield "music", path.name, audio
        for index, audio in enumerate(workers.map(synthesize, jobs)):
            yield "synthetic", f"{jobs[index][1]}-{index}", audio


def write_pool(output: Path, synthesized: int, seed: int) -> dict[str, float]:
    """Write pool.npy (int16, all clips end to end) and index.json; return minutes per kind."""
    clips: list[NDArray[np.int16]] = []
    index: list[dict[str, object]] = []
    start = 0
    minutes: dict[str, float] = {}
    for kind, name, raw in tqdm(collect(synthesized, seed), unit="clip"):
        audio = trimmed(raw)
        if audio.size < SAMPLE_RATE // 4:
            continue
        clips.append(audio)
        index.append({"kind": kind, "name": name, "start": start, "length": int(audio.size)})
        start += audio.size
        minutes[kind] = minutes.get(kind, 0.0) + audio.size / SAMPLE_RATE / 60
    output.mkdir(parents=True, exist_ok=True)
    pool, table = output / "pool.npy", output / "index.json"
    partial = output / "pool.partial.npy"
    np.save(partial, np.concatenate(clips))
    os.replace(partial, pool)
    partial = output / "index.partial.json"
    partial.write_text(json.dumps(index))
    os.replace(partial, table)
    return minutes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/codec"))
    parser.add_argument("--synthesized", type=int, default=400, help="espeak-ng utterances")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    install_missing_packages()
    minutes = write_pool(options.output, options.synthesized, options.seed)
    print(", ".join(f"{kind}: {value:.1f} min" for kind, value in minutes.items()))


if __name__ == "__main__":
    main()
