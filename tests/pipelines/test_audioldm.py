"""AudioLDMPipeline against the live original: the same seed, the same audio."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.pipelines.helpers import DIM, generator, swap

SHORT = {"num_inference_steps": 3, "audio_length_in_s": 0.4}


def both(pipelines: tuple[Any, Any], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    made = kwargs.pop("generators", lambda: generator())
    results = [each(*args, generator=made(), **{**SHORT, **kwargs}) for each in pipelines]
    return results[0].audios, results[1].audios


def assert_same(theirs: Any, ours: Any) -> None:
    """Within 1e-4 of the largest value, of a result that is not silence."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    peak = abs(theirs).max()
    assert peak > 0.05
    assert float(abs(ours - theirs).max()) <= 1e-4 * peak


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"guidance_scale": 1.0},
        {"guidance_scale": 7.5},
        {"negative_prompt": "low quality, noise"},
        {"num_waveforms_per_prompt": 3},
        {"eta": 0.7},
        {"num_inference_steps": 1},
        {"audio_length_in_s": 0.37},
        {"audio_length_in_s": 0.04},
        {"audio_length_in_s": None, "num_inference_steps": 1},
        {"output_type": "pt"},
    ],
    ids=str,
)
def test_one_prompt(pipelines: tuple[Any, Any], kwargs: dict[str, Any]) -> None:
    assert_same(*both(pipelines, "A hammer hitting a wooden surface", **kwargs))


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"negative_prompt": ["noise", "a longer one", ""]},
        {"num_waveforms_per_prompt": 2},
        {"guidance_scale": 0.5},
    ],
    ids=str,
)
def test_several_prompts(pipelines: tuple[Any, Any], kwargs: dict[str, Any]) -> None:
    prompts = ["a dog", "techno music with a strong, upbeat tempo and high melodic riffs", "rain"]
    assert_same(*both(pipelines, prompts, **kwargs))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PNDMScheduler", {}),
        ("PNDMScheduler", {"skip_prk_steps": True}),
        ("LMSDiscreteScheduler", {}),
        ("EulerDiscreteScheduler", {}),
        ("EulerAncestralDiscreteScheduler", {}),
        ("HeunDiscreteScheduler", {}),
        ("DDPMScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("UniPCMultistepScheduler", {}),
    ],
    ids=str,
)
def test_schedulers(pipelines: tuple[Any, Any], name: str, options: dict[str, Any]) -> None:
    swap(pipelines, name, **options)
    assert_same(*both(pipelines, "a hammer", num_inference_steps=5))


def test_generators(pipelines: tuple[Any, Any]) -> None:
    """One per waveform: each row is the run with its generator alone."""
    made = lambda: [generator(seed) for seed in (1, 2)]  # noqa: E731
    theirs, ours = both(pipelines, ["a", "b"], generators=made)
    assert_same(theirs, ours)
    alone = pipelines[1]("b", generator=generator(2), **SHORT).audios
    assert_same(alone, ours[1:])


def test_embeddings_and_latents(pipelines: tuple[Any, Any]) -> None:
    embeds = torch.nn.functional.normalize(torch.randn(2, DIM), dim=-1)
    negative = torch.nn.functional.normalize(torch.randn(2, DIM), dim=-1)
    assert_same(*both(pipelines, prompt_embeds=embeds))
    assert_same(*both(pipelines, prompt_embeds=embeds, negative_prompt_embeds=negative))
    latents = torch.randn(1, 3, 20, 8)
    assert_same(*both(pipelines, "a", latents=latents))


def test_callbacks(pipelines: tuple[Any, Any]) -> None:
    swap(pipelines, "HeunDiscreteScheduler")
    seen: list[list[tuple[int, float, torch.Tensor]]] = []
    for each in pipelines:
        calls: list[tuple[int, float, torch.Tensor]] = []

        def note(
            step: int,
            t: torch.Tensor,
            latents: torch.Tensor,
            calls: list[tuple[int, float, torch.Tensor]] = calls,
        ) -> None:
            calls.append((step, float(t), latents))

        each("a", generator=generator(), callback=note, callback_steps=2, **SHORT)
        seen.append(calls)
    assert [call[:2] for call in seen[0]] == [call[:2] for call in seen[1]]
    for theirs, ours in zip(*seen, strict=True):
        torch.testing.assert_close(
            ours[2], theirs[2], rtol=0, atol=1e-4 * float(theirs[2].abs().max())
        )


def test_results_of_other_kinds(ours: Any) -> None:
    audio = ours("a", generator=generator(), **SHORT)
    as_tuple = ours("a", generator=generator(), return_dict=False, **SHORT)
    assert np.array_equal(audio[0], as_tuple[0])
    assert np.array_equal(audio["audios"], as_tuple[0])
    latents = ours("a", generator=generator(), output_type="latent", **SHORT).audios
    mel = ours("a", generator=generator(), output_type="mel", **SHORT).audios
    assert torch.equal(ours.decode_latents(latents), mel)
    assert mel.shape[2:] == (40, 16)
    again = ours.mel_spectrogram_to_waveform(mel)[:, :6400]
    assert np.array_equal(again.numpy(), audio.audios)


def test_a_thousand_steps(ours: Any) -> None:
    """diffusers raises IndexError; here as many as the model was trained on."""
    ours.unet, before = _Nothing(ours.unet), ours.unet
    try:
        latents = ours("a", num_inference_steps=1000, audio_length_in_s=0.04, output_type="latent")
    finally:
        ours.unet = before
    assert torch.isfinite(latents.audios).all()


class _Nothing:
    """A UNet that predicts no noise, so that a thousand steps take no time."""

    def __init__(self, unet: Any) -> None:
        self.config, self.dtype, self._unet = unet.config, unet.dtype, unet

    def parameters(self) -> Any:
        return self._unet.parameters()

    def time_embeddings(self, timesteps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(timesteps), len(labels), 1)

    def __call__(self, x: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        return (torch.zeros_like(x),)


@pytest.mark.parametrize("seconds", [0.29, 0.57, 0.0999])
def test_no_sample_is_missing(ours: Any, seconds: float) -> None:
    """Rounding in binary costs diffusers a frame for such lengths."""
    audio = ours("a", audio_length_in_s=seconds, num_inference_steps=1).audios
    assert audio.shape == (1, int(seconds * 16000))


def test_the_empty_text_is_encoded_once(fresh: Any) -> None:
    calls: list[Any] = []
    fresh.text_encoder.register_forward_hook(lambda *args: calls.append(args))
    fresh("a", **SHORT)
    fresh("b", **SHORT)
    assert len(calls) == 3
    with torch.no_grad():
        fresh.text_encoder.text_projection.linear1.weight.mul_(1.1)
    fresh("c", **SHORT)
    assert len(calls) == 5


def test_half_precision(pipelines: tuple[Any, Any], fresh: Any) -> None:
    """In bfloat16: float32 audio near that of float32; latents stay float32."""
    exact = pipelines[1]("a", generator=generator(), **SHORT).audios
    fresh.to(torch.bfloat16)
    latents = fresh("a", generator=generator(), output_type="latent", **SHORT).audios
    assert latents.dtype == torch.float32
    weight = fresh.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    audio = fresh("a", generator=generator(), **SHORT).audios
    assert audio.dtype == np.float32
    noise = np.square(audio - exact).mean() / np.square(exact).mean()
    assert noise < 0.05


def test_dtypes_may_differ(fresh: Any) -> None:
    """diffusers fails where the UNet has another dtype than the text encoder."""
    fresh.unet.to(torch.bfloat16)
    assert np.isfinite(fresh("a", **SHORT).audios).all()


def test_shims(ours: Any) -> None:
    """What was removed upstream, or crashes there."""
    plain = ours("a", generator=generator(), **SHORT).audios
    for name in ("enable_vae_slicing", "fuse_qkv_projections", "enable_attention_slicing"):
        getattr(ours, name)()
    assert_same(plain, ours("a", generator=generator(), **SHORT).audios)
    for name in ("disable_vae_slicing", "unfuse_qkv_projections", "disable_attention_slicing"):
        getattr(ours, name)()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ValueError, "Provide either `prompt` or `prompt_embeds`"),
        ({"prompt": 3}, ValueError, "`prompt` has to be of type `str` or `list`"),
        ({"prompt": []}, ValueError, "at least one text"),
        ({"prompt": ["a", 3]}, TypeError, "list of `str`"),
        ({"prompt": "a", "audio_length_in_s": 0.01}, ValueError, "positive value greater than"),
        ({"prompt": "a", "audio_length_in_s": -1.0}, ValueError, "but is -1.0"),
        ({"prompt": "a", "audio_length_in_s": float("nan")}, ValueError, "but is nan"),
        ({"prompt": "a", "audio_length_in_s": 1e9}, ValueError, "but is 1000000000.0"),
        ({"prompt": "a", "callback_steps": 0}, ValueError, "`callback_steps` has to be"),
        ({"prompt": "a", "callback_steps": None}, ValueError, "`callback_steps` has to be"),
        ({"prompt": "a", "prompt_embeds": torch.zeros(1, DIM)}, ValueError, "Cannot forward both"),
        ({"prompt": "a", "negative_prompt": ["b"]}, TypeError, "should be the same type"),
        ({"prompt": ["a"], "negative_prompt": ["b", "c"]}, ValueError, "has batch size 2"),
        ({"prompt": "a", "num_waveforms_per_prompt": 0}, ValueError, "an integer >= 1, but is 0"),
        ({"prompt": "a", "num_inference_steps": 0}, ValueError, "0"),
        ({"prompt": "a", "num_inference_steps": 1001}, ValueError, "1001"),
        ({"prompt": "a", "output_type": "zzz"}, ValueError, "`output_type` has to be one of"),
        ({"prompt": "a", "latents": torch.zeros(1, 3, 4, 4)}, ValueError, "has to have shape"),
        ({"prompt": ["a", "b"], "generator": [generator()] * 3}, ValueError, "length 3, but"),
        (
            {
                "prompt_embeds": torch.zeros(1, DIM),
                "negative_prompt_embeds": torch.zeros(2, DIM),
            },
            ValueError,
            "must have the same shape",
        ),
    ],
)
def test_refusals(ours: Any, kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ours(**{**SHORT, **kwargs})
