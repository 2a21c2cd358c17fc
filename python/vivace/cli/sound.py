"""The work of `vivace audioldm`: the pipeline, the audio to its files, progress, the summary."""

from __future__ import annotations

import secrets
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vivace import audio, schedulers
from vivace._files import atomic_path
from vivace.pipelines import AudioLDMPipeline

if TYPE_CHECKING:
    from vivace.cli.sound_options import SoundOptions

__all__ = ["generate"]

# name -> (class, what differs from the configuration of the model's own)
_SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddim": (schedulers.DDIMScheduler, {}),
    "pndm": (schedulers.PNDMScheduler, {"skip_prk_steps": True}),
    "lms": (schedulers.LMSDiscreteScheduler, {}),
    "euler": (schedulers.EulerDiscreteScheduler, {}),
    "euler-ancestral": (schedulers.EulerAncestralDiscreteScheduler, {}),
    "dpm++": (schedulers.DPMSolverMultistepScheduler, {}),
    "dpm++-karras": (schedulers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "unipc": (schedulers.UniPCMultistepScheduler, {}),
}
# The time of a step, also where it is below a second.
_BAR = (
    "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_inv_fmt}]"
)


def generate(options: SoundOptions) -> str:
    """Makes the sounds of a request and returns a line about them.

    Raises ValueError and OSError, with messages for the user, and what the library raises.
    """
    if options.plot is not None:
        from vivace.cli import sound_plot  # matplotlib is looked for before the work is done

        sound_plot.require()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    pipeline = _pipeline(options)
    rate: int = pipeline.vocoder.config.sampling_rate
    seed = secrets.randbits(32) if options.seed is None else options.seed
    start = time.perf_counter()
    sounds = _sounds(pipeline, options, seed)
    elapsed = time.perf_counter() - start
    # The files get their names together, when all of them are whole.
    with ExitStack() as stack:
        for path, sound in zip(options.outputs, sounds, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(audio.writer(path, rate))(sound)
        if options.plot is not None:
            options.plot.parent.mkdir(parents=True, exist_ok=True)
            temporary = stack.enter_context(atomic_path(options.plot))
            sound_plot.draw(temporary, sounds, pipeline.vocoder.config, options.prompt)
    seconds = sounds.shape[1] / rate
    names = [str(path) for path in options.outputs]
    parts = [
        names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}",
        f"{'' if len(names) == 1 else f'{len(names)} x '}{seconds:.2f} s of audio "
        f"in {elapsed:.2f} s",
        f"real-time factor {elapsed / sounds.numel() * rate:.3f}",
        f"seed {seed}",
    ]
    return "  ".join(parts)


def _pipeline(options: SoundOptions) -> AudioLDMPipeline:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        pipeline = AudioLDMPipeline.from_pretrained(
            options.model, dtype=getattr(torch, options.dtype), device_map=device
        )
    except Exception as error:
        raise ValueError(f"cannot use the model {options.model}: {error}") from error
    if options.scheduler is not None:
        kind, changes = _SCHEDULERS[options.scheduler]
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **changes)
    pipeline.set_progress_bar_config(
        desc="denoising",
        unit="step",
        bar_format=_BAR,
        dynamic_ncols=True,
        disable=options.quiet or not sys.stderr.isatty(),
    )
    return pipeline


def _sounds(pipeline: AudioLDMPipeline, options: SoundOptions, seed: int) -> Tensor:
    """(count, L) float32; sound i is the one of seed + i alone."""
    common: dict[str, Any] = {
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance,
        "negative_prompt": options.negative,
        "num_waveforms_per_prompt": options.count,
        "generator": [
            torch.Generator().manual_seed((seed + i) % 2**64) for i in range(options.count)
        ],
        "output_type": "pt",
    }
    if options.init_audio is None:
        made = pipeline(options.prompt, options.seconds, **common)
    else:
        made = pipeline.audio_to_audio(
            options.prompt, options.init_audio, options.strength, **common
        )
    sounds: Tensor = made.audios
    return sounds
