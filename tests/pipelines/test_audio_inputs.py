"""Audio as AudioLDM's input, against the same made of diffusers' components."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.audioldm.test_mel import expected as mel_of
from tests.pipelines.helpers import BINS, generator, swap
from tests.pipelines.test_audioldm import assert_same
from vivace import audio as files
from vivace.models.audioldm.mel import normalise
from vivace.pipelines import audioldm_masks as masks

RATE = 16_000
PROMPT = "a hammer"
STEPS = 6
LATENT = 320  # samples of a frame of the tiny VAE's latents


def clip(samples: int = 6500, rows: int | None = None) -> Tensor:
    shape = (samples,) if rows is None else (rows, samples)
    return torch.randn(shape, generator=generator(7)) * 0.1 + 0.02


def run(pipeline: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    options = {"num_inference_steps": STEPS, "generator": generator(), **kwargs}
    return getattr(pipeline, method)(PROMPT, *args, **options).audios


def latents_of(oracle: Any, audio: Tensor) -> Tensor:
    """Scaled latents of (L,), from parts of others."""
    normal = audio.double() - audio.double().mean()
    normal = normal / normal.abs().max() * 0.5
    frames = -(-len(audio) // LATENT) * 2
    padded = torch.nn.functional.pad(normal, (0, frames * 160 - len(audio)))
    mel = mel_of(padded, bins=BINS)[:frames].float()
    mode: Tensor = oracle.vae.encode(mel[None, None]).latent_dist.mode()
    return mode * oracle.vae.config.scaling_factor


def heard(oracle: Any, latents: Tensor, samples: int) -> Any:
    mel = oracle.decode_latents(latents)
    return oracle.mel_spectrogram_to_waveform(mel)[:, :samples].detach().numpy()


@torch.no_grad()
def by_hand(
    oracle: Any,
    audio: Tensor,
    strength: float,
    guidance: float = 2.5,
    negative: str | None = None,
    mask: Tensor | None = None,
) -> Any:
    """The audio; with a mask of frames the latents, of which the others are put back."""
    seeded, scheduler = generator(), oracle.scheduler
    embeds = oracle._encode_prompt(PROMPT, "cpu", 1, guidance > 1, negative)
    scheduler.set_timesteps(STEPS)
    x = original = latents_of(oracle, audio)
    skipped = (STEPS - int(STEPS * strength)) * scheduler.order
    timesteps = scheduler.timesteps[skipped:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    noise = torch.randn(x.shape, generator=seeded)
    if mask is not None and strength == 1:
        x = x * ~mask
    x = scheduler.add_noise(x, noise, timesteps[:1]) if len(timesteps) else x
    extra = oracle.prepare_extra_step_kwargs(seeded, 0.0)
    for i, t in enumerate(timesteps, 1):
        given = scheduler.scale_model_input(torch.cat([x, x]) if guidance > 1 else x, t)
        output = oracle.unet(given, t, encoder_hidden_states=None, class_labels=embeds).sample
        if guidance > 1:
            without, towards = output.chunk(2)
            output = without + guidance * (towards - without)
        x = scheduler.step(output, t, x, **extra).prev_sample
        if mask is not None:
            noised = original
            if i < len(timesteps):
                noised = scheduler.add_noise(original, noise, timesteps[i : i + 1])
            x = torch.where(mask, x, noised)
    if mask is not None:
        return x.numpy()
    return heard(oracle, x, len(audio))


@pytest.mark.parametrize(
    ("strength", "guidance", "negative"),
    [(0.5, 2.5, None), (0.0, 2.5, None), (1.0, 2.5, None), (0.7, 1.0, None), (0.5, 4.0, "noise")],
)
def test_ddim(pipelines: Any, strength: float, guidance: float, negative: str | None) -> None:
    oracle, ours = pipelines
    made = run(
        ours,
        "audio_to_audio",
        clip(),
        strength,
        guidance_scale=guidance,
        negative_prompt=negative,
    )
    assert_same(by_hand(oracle, clip(), strength, guidance, negative), made)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("EulerDiscreteScheduler", {}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("UniPCMultistepScheduler", {}),
        ("DDPMScheduler", {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_schedulers(pipelines: Any, name: str, options: dict[str, Any], strength: float) -> None:
    swap(pipelines, name, **options)
    made = run(pipelines[1], "audio_to_audio", clip(), strength)
    assert_same(by_hand(pipelines[0], clip(), strength), made)


def test_lms(pipelines: Any) -> None:
    """From the beginning; in the middle diffusers weighs derivatives that it does not have."""
    swap(pipelines, "LMSDiscreteScheduler")
    made = run(pipelines[1], "audio_to_audio", clip(), 1.0)
    assert_same(by_hand(pipelines[0], clip(), 1.0), made)
    assert np.isfinite(run(pipelines[1], "audio_to_audio", clip(), 0.5)).all()


@pytest.mark.parametrize(
    ("skip", "begins"), [(True, [0, 2, 3, 4, 5, 6]), (False, [0, 4, 8, 12, 13, 14])]
)
def test_pndm_begins_where_a_step_begins(pipelines: Any, skip: bool, begins: list[int]) -> None:
    """Its warm-up visits timesteps more than once, and others between the steps."""
    swap(pipelines, "PNDMScheduler", skip_prk_steps=skip)
    scheduler = pipelines[1].scheduler
    for step, begin in enumerate(begins):
        run(pipelines[1], "audio_to_audio", clip(640), (STEPS - step) / STEPS)
        assert scheduler.begin_index == begin
        assert scheduler.step_index == len(scheduler.timesteps) == begins[-1] + 1
        assert int(scheduler.timesteps[begin]) == 1 + 166 * (STEPS - 1 - step)


@pytest.mark.parametrize("samples", [1, 159, 640, 641, 5003])
def test_lengths_are_exact(ours: Any, samples: int) -> None:
    for method, more in (("audio_to_audio", (0.5,)), ("inpaint", ((0, samples / RATE),))):
        made = run(ours, method, clip(samples), *more)
        assert made.shape == (1, samples)
        assert np.isfinite(made).all()


def test_batches_are_their_rows(ours: Any) -> None:
    """One prompt for several clips, several for one, and several results of each."""
    clips = clip(1300, rows=2)
    seeds = lambda *numbers: [generator(n) for n in numbers]  # noqa: E731
    made = run(
        ours, "audio_to_audio", clips, num_waveforms_per_prompt=2, generator=seeds(1, 2, 3, 4)
    )
    assert made.shape == (4, 1300)
    for row, (index, seed) in zip(made, ((0, 1), (0, 2), (1, 3), (1, 4)), strict=True):
        assert_same(run(ours, "audio_to_audio", clips[index], generator=generator(seed))[0], row)
    prompts = ["a dog", PROMPT]
    options = {"num_inference_steps": STEPS, "generator": tuple(seeds(1, 2))}
    both = ours.audio_to_audio(prompts, clips[0], **options, negative_prompt=["x", "y"]).audios
    alone = run(ours, "audio_to_audio", clips[0], generator=generator(2), negative_prompt="y")
    assert_same(alone, both[1:])
    again = run(ours, "audio_to_audio", clips, negative_prompt="y", generator=seeds(1, 2))
    assert_same(
        run(ours, "audio_to_audio", clips[1], negative_prompt="y", generator=generator(2)),
        again[1:],
    )
    with pytest.raises(ValueError, match="as many, or one of them one, got 2 and 3"):
        ours.audio_to_audio(prompts, clip(700, rows=3))


def test_the_seed_decides(ours: Any) -> None:
    for method, argument in (("audio_to_audio", 0.5), ("inpaint", (0.1, 0.2))):
        first = run(ours, method, clip(), argument)
        assert np.array_equal(first, run(ours, method, clip(), argument))
        other = run(ours, method, clip(), argument, generator=generator(1))
        assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    ],
)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpainting(pipelines: Any, name: str, strength: float) -> None:
    """What is kept has the noise of the level in every step."""
    swap(pipelines, name)
    made = run(pipelines[1], "inpaint", clip(), (0.11, 0.2), strength, output_type="latent")
    mask = torch.zeros(1, 1, made.shape[2], 1, dtype=torch.bool)
    mask[:, :, 5:10] = True
    assert_same(by_hand(pipelines[0], clip(), strength, mask=mask), made.numpy())


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_inpainting_keeps_what_is_outside(pipelines: Any, name: str) -> None:
    """Latents exactly; the spectrogram exactly; audio, but for the vocoder's reach."""
    swap(pipelines, name)
    ours, audio = pipelines[1], clip(16_000)
    kept = {
        kind: run(ours, "audio_to_audio", audio, 0.0, output_type=kind)
        for kind in ("latent", "mel", "np")
    }
    mask = [(0.31, 0.35), (0.9, 0.99)]
    made = {kind: run(ours, "inpaint", audio, mask, output_type=kind) for kind in kept}
    inside = torch.zeros(50, dtype=torch.bool)  # of frames of 0.02 s
    inside[15:18] = inside[45:50] = True
    assert torch.equal(made["latent"][:, :, ~inside], kept["latent"][:, :, ~inside])
    assert (made["latent"][:, :, inside] - kept["latent"][:, :, inside]).abs().min() > 0
    frames = inside.repeat_interleave(2)
    assert torch.equal(made["mel"][:, :, ~frames], kept["mel"][:, :, ~frames])
    different = np.abs(made["np"] - kept["np"])[0].reshape(50, LATENT).max(-1)
    assert (different[inside] > 1e-3).all()
    assert (different[[*range(4), *range(30, 33)]] < 1e-6).all()


def test_edges_of_masks_round_outwards() -> None:
    """To whole frames; but 0.28 s · 16 kHz is 4480.000000000001 samples, and no frame more."""
    for (start, end), frames in (
        ((0.04, 0.28), range(1, 7)),
        ((0.0399, 0.2801), range(8)),
        ((0.05, 0.051), range(1, 2)),
        ((0.08, 0.08 + 1e-9), range(2, 3)),
        ((0, 0.4), range(10)),
    ):
        spans = masks.check_spans((start, end), 6400, RATE)
        assert masks.time_mask(spans, 640, 10).flatten().nonzero().flatten().tolist() == [*frames]


def test_keep_original(ours: Any) -> None:
    audio = clip(16_000) * 3
    made = run(ours, "inpaint", audio, (0.4, 0.6), keep_original=True, output_type="pt")[0]
    outside = torch.ones(16_000, dtype=torch.bool)
    outside[6400 - LATENT : 9600 + LATENT] = False
    assert torch.equal(made[outside], audio[outside])
    plain = run(ours, "inpaint", audio, (0.4, 0.6), output_type="pt")[0]
    _, gain, mean = normalise(audio)
    torch.testing.assert_close(made[6400:9600], (plain * gain + mean)[6400:9600].float())
    # No click at the edges: a step is no larger than inside one of the two.
    largest = max(x.diff().abs().max() for x in (audio, plain * gain))
    assert made[6000:10000].diff().abs().max() < 1.1 * largest


def test_strength_one_forgets_the_inside(ours: Any) -> None:
    """Nothing of the latents under the mask is left, of the others all."""
    audio = clip(6400)
    seen: list[Tensor] = []
    add_noise = ours.scheduler.add_noise
    ours.scheduler.add_noise = lambda x, *rest: seen.append(x) or add_noise(x, *rest)
    latents = run(ours, "audio_to_audio", audio, 0.0, output_type="latent")
    run(ours, "inpaint", audio, (0.08, 0.16))
    assert not seen[0][:, :, 4:8].any()
    assert torch.equal(seen[0][:, :, 8:], latents[:, :, 8:])
    run(ours, "inpaint", audio, (0.08, 0.16), 0.9)
    assert torch.equal(seen[STEPS], latents)


def test_super_resolution(ours: Any) -> None:
    """16 mel bins are 8 of latents; the fourth ends at 1851 Hz, the fifth at 2669 Hz."""
    kept, made = (
        {kind: run(ours, *call, output_type=kind) for kind in ("latent", "mel", "np")}
        for call in (("audio_to_audio", clip(), 0.0), ("super_resolution", clip(), 2000))
    )
    assert torch.equal(made["latent"][..., :4], kept["latent"][..., :4])
    assert (made["latent"][..., 4:] - kept["latent"][..., 4:]).abs().min() > 0
    assert torch.equal(made["mel"][..., :8], kept["mel"][..., :8])
    assert not torch.equal(made["mel"][..., 8:], kept["mel"][..., 8:])
    assert made["np"].shape == (1, 6500)
    for cutoff in (500.0, 8000.0, float("nan")):
        with pytest.raises(ValueError, match="cutoff_hz must be at least"):
            run(ours, "super_resolution", clip(), cutoff)
    with pytest.raises(TypeError, match="cutoff_hz must be a number"):
        run(ours, "super_resolution", clip(), "high")


def test_files_and_rates(ours: Any, tmp_path: Path) -> None:
    """The first channel of a file, resampled."""
    stereo = torch.stack([clip(4411), torch.zeros(4411)])
    path = files.save(tmp_path / "a.wav", stereo, 44_100, subtype="FLOAT")
    made = run(ours, "audio_to_audio", path)
    resampled = files.resample(stereo[0], 44_100, RATE)
    assert made.shape == (1, len(resampled)) == (1, 1600)
    assert np.array_equal(made, run(ours, "audio_to_audio", resampled))
    assert np.array_equal(
        made, run(ours, "audio_to_audio", stereo[0].numpy(), sampling_rate=44_100)
    )
    with pytest.raises(ValueError, match="is at 44100 Hz, got sampling_rate 16000"):
        run(ours, "audio_to_audio", str(path), sampling_rate=RATE)


def test_silence(ours: Any) -> None:
    assert np.isfinite(run(ours, "audio_to_audio", torch.zeros(2000))).all()


def test_other_results(ours: Any) -> None:
    seen: list[int] = []
    made = ours.inpaint(
        PROMPT,
        clip(),
        (0.1, 0.2),
        num_inference_steps=STEPS,
        callback=lambda i, t, x: seen.append(i),
        return_dict=False,
    )
    assert isinstance(made, tuple)
    assert made[0].dtype == np.float32
    assert seen == list(range(STEPS))


def test_half_precision(ours: Any, fresh: Any) -> None:
    exact = run(ours, "inpaint", clip(), (0.1, 0.3))
    made = run(fresh.to(torch.bfloat16), "inpaint", clip(), (0.1, 0.3))
    assert made.dtype == np.float32
    assert np.square(made - exact).mean() < 0.05 * np.square(exact).mean()


NAN, LOUD = clip(700), clip(700)
NAN[3], LOUD[3] = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "error", "message"),
    [
        ("audio_to_audio", (NAN,), {}, ValueError, "audio_to_audio: audio must be finite"),
        ("audio_to_audio", (LOUD,), {}, ValueError, "must be finite"),
        ("audio_to_audio", (torch.zeros(0),), {}, ValueError, "must not be empty"),
        ("audio_to_audio", (torch.zeros(1, 1, 5),), {}, ValueError, "must have shape"),
        ("audio_to_audio", (torch.zeros(5, dtype=torch.int64),), {}, TypeError, "floating"),
        ("audio_to_audio", ([0.0, 1.0],), {}, TypeError, "an array, a tensor or a file"),
        ("audio_to_audio", (None,), {}, TypeError, "an array, a tensor or a file"),
        ("audio_to_audio", ("gone.wav",), {}, OSError, "gone.wav"),
        ("audio_to_audio", (clip(9),), {"sampling_rate": 0}, ValueError, "must be positive"),
        ("audio_to_audio", (clip(9),), {"sampling_rate": 8e3}, TypeError, "must be an integer"),
        ("audio_to_audio", (clip(9), 1.1), {}, ValueError, "strength must be from 0 to 1"),
        ("audio_to_audio", (clip(9), -0.1), {}, ValueError, "strength must be from 0 to 1"),
        ("audio_to_audio", (clip(9), float("nan")), {}, ValueError, "from 0 to 1, got nan"),
        ("audio_to_audio", (clip(9), "half"), {}, ValueError, "from 0 to 1, got half"),
        ("audio_to_audio", (clip(9),), {"output_type": "zzz"}, ValueError, "`output_type`"),
        ("audio_to_audio", (clip(9),), {"generator": [None] * 3}, ValueError, "list of 3"),
        ("inpaint", (clip(1600), (0.05, 0.2)), {}, ValueError, "lie in the clip, 0 to 0.1 s"),
        ("inpaint", (clip(1600), (-0.1, 0.05)), {}, ValueError, "lie in the clip"),
        ("inpaint", (clip(1600), (0.05, 0.05)), {}, ValueError, "must have start < end"),
        ("inpaint", (clip(1600), [(0, 0.01), (0.07, 0.05)]), {}, ValueError, "start < end"),
        ("inpaint", (clip(1600), (float("nan"), 0.05)), {}, ValueError, "start < end"),
        ("inpaint", (clip(1600), (0, float("inf"))), {}, ValueError, "lie in the clip"),
        ("inpaint", (clip(1600), []), {}, ValueError, "one .start, end. at least"),
        ("inpaint", (clip(1600), 0.5), {}, TypeError, "must be .start, end. or a list"),
        ("inpaint", (clip(1600), [(0, 1, 2)]), {}, TypeError, "must be .start, end. or a list"),
        (
            *("inpaint", (clip(1600), (0, 0.05))),
            *({"keep_original": True, "output_type": "mel"}, ValueError, "keep_original needs"),
        ),
        ("inpaint", (clip(1600), (0, 0.05)), {"wrong": 1}, TypeError, "wrong"),
    ],
)
def test_refusals(
    ours: Any,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        run(ours, method, *args, **kwargs)
