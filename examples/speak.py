"""Text to speech with Bark: the audio as it comes, the time of the first of it, and a WAV file.

python examples/speak.py "Hello, my dog is cute." --model suno/bark-small --output speech.wav
"""

import argparse
import time
from pathlib import Path

import torch

from vivace import audio
from vivace.models.bark import BarkModel, BarkProcessor

TEXT = (
    "Good evening. The train to the coast — yes, the late one — leaves from platform two. [sighs]"
)


def load(name: str, device: str) -> tuple[BarkModel, BarkProcessor]:
    """The model and its processor, from a folder or the Hugging Face Hub."""
    try:
        processor = BarkProcessor.from_pretrained(name)
        # A GPU has to hold half as much.
        dtype = torch.float16 if device == "cuda" else torch.float32
        model = BarkModel.from_pretrained(name, dtype=dtype, device_map=device)
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"{error}\n\nThis needs the weights of a Bark: a folder that holds them, or a network "
            "and the name of a repository, such as --model suno/bark-small (1.7 GB) or suno/bark."
        ) from None
    return model.eval(), processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", nargs="?", default=TEXT)
    parser.add_argument("--model", default="suno/bark-small", help="folder or repository")
    parser.add_argument("--voice", help='for example "v2/en_speaker_6", or a .npz file')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("speech.wav"))
    options = parser.parse_args()

    model, processor = load(options.model, "cuda" if torch.cuda.is_available() else "cpu")
    rate = model.generation_config.sample_rate

    start = time.perf_counter()
    # A text of any length: sentence by sentence, in one voice. Every piece is final when it comes,
    # so a player could begin with the first.
    pieces = []
    for piece in model.stream_long(
        options.text,
        processor,
        voice_preset=options.voice,
        seed=options.seed,
        do_sample=True,
        min_eos_p=0.2,  # as suno's own code: end where an end is this likely
    ):
        if not pieces:
            print(f"first audio after {time.perf_counter() - start:.2f} s")
        pieces.append(piece)
    elapsed = time.perf_counter() - start
    if not pieces:
        raise SystemExit("the model said nothing: try another --seed")

    speech = torch.cat(pieces)
    seconds = len(speech) / rate
    audio.save(options.output, speech, rate)
    print(f"{seconds:.2f} s of audio in {elapsed:.2f} s: {seconds / elapsed:.2f} x real time")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
