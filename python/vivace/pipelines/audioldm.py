"""AudioLDMPipeline: text to sound by latent diffusion (Liu et al. 2023, arXiv:2301.12503).

Text → CLAP vector → latents denoised step by step → VAE → log-mel spectrogram → HiFi-GAN → audio.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vivace import schedulers
from vivace.generation.graph import Graphs
from vivace.models.audioldm import (
    AutoencoderKL,
    ClapTextModelWithProjection,
    RobertaTokenizer,
    SpeechT5HifiGan,
    UNet2DConditionModel,
)
from vivace.pipelines.audioldm_audio import AudioInputs
from vivace.pipelines.audioldm_checks import check_call, check_negative
from vivace.pipelines.audioldm_text import encode_prompts
from vivace.pipelines.outputs import AudioPipelineOutput

Generators = torch.Generator | Sequence[torch.Generator] | None
# Longer spectrograms go through the vocoder in pieces of ten seconds, exactly, in bounded memory.
_VOCODER_FRAMES = 1000
OUTPUT_TYPES = ("np", "pt", "latent", "mel")


class AudioLDMPipeline(AudioInputs):
    """Text to sound, with diffusers' arguments and numbers; see docs/audioldm.md for what is more.

    Attributes: vae, text_encoder, tokenizer, unet, scheduler, vocoder; each may be replaced.
    """

    component_classes: ClassVar[dict[str, tuple[str, type[Any]]]] = {
        "vae": ("diffusers", AutoencoderKL),
        "text_encoder": ("transformers", ClapTextModelWithProjection),
        "tokenizer": ("transformers", RobertaTokenizer),
        "unet": ("diffusers", UNet2DConditionModel),
        "scheduler": ("diffusers", schedulers.DDIMScheduler),
        "vocoder": ("transformers", SpeechT5HifiGan),
    }

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: ClapTextModelWithProjection,
        tokenizer: RobertaTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,
        vocoder: SpeechT5HifiGan,
    ) -> None:
        super().__init__(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            vocoder=vocoder,
        )
        self.vae_scale_factor: int = 2 ** (len(vae.config.block_out_channels) - 1)
        self._graphs = Graphs(unet)

    @classmethod
    def _class_of(cls, part: str, kind: type[Any], entry: Any) -> type[Any]:
        if part != "scheduler":
            return kind
        name = entry[1] if isinstance(entry, (list, tuple)) and len(entry) == 2 else entry
        found = getattr(schedulers, str(name), None)
        if not (isinstance(found, type) and issubclass(found, schedulers.SchedulerMixin)):
            raise ValueError(f"AudioLDMPipeline.from_pretrained: there is no scheduler {name!r}")
        return found

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        audio_length_in_s: float | None = None,
        num_inference_steps: int = 10,
        guidance_scale: float = 2.5,
        negative_prompt: str | list[str] | None = None,
        num_waveforms_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        return_dict: bool = True,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
        callback_steps: int | None = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        output_type: str | None = "np",
    ) -> Any:
        """Sound for prompts -> AudioPipelineOutput with audios (B · num_waveforms, L) float32.

        audio_length_in_s: by default what the UNet was trained on, 5.12 s. guidance_scale > 1
        steers away from the negative prompt (the empty text). eta: of DDIM. generator: one, or one
        per waveform. latents: unscaled noise (B · n, 8, T, F). prompt_embeds,
        negative_prompt_embeds: unit vectors (B, 512). callback(step, timestep, latents) every
        `callback_steps`. output_type: "np", "pt" (on the CPU), "latent" or "mel" (on the device).
        cross_attention_kwargs has no effect. Raises ValueError and TypeError.
        """
        self._lay_out()
        if audio_length_in_s is None:
            audio_length_in_s = self.unet.config.sample_size * self.vae_scale_factor * self._hop_s
        batch, count, guided = self._check(
            prompt,
            audio_length_in_s,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            num_waveforms_per_prompt,
            guidance_scale,
            output_type,
        )
        labels = self._labels(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, batch, count, guided
        )
        samples = int(audio_length_in_s * self.vocoder.config.sampling_rate)
        frames = self._frames(audio_length_in_s, samples)
        self.scheduler.set_timesteps(num_inference_steps, device=self.device)
        latents = self.prepare_latents(batch * count, frames, generator, latents)
        latents = self._denoise(
            latents,
            self.scheduler.timesteps,
            labels,
            guidance_scale if guided else None,
            self.prepare_extra_step_kwargs(generator, eta),
            num_inference_steps,
            callback,
            callback_steps or 1,
        )
        return self._output(latents, samples, output_type, return_dict)

    def prepare_extra_step_kwargs(self, generator: Generators, eta: float) -> dict[str, Any]:
        """The arguments `eta` and `generator`, as far as the scheduler's step has them."""
        accepted = inspect.signature(self.scheduler.step).parameters
        given = {"eta": eta, "generator": generator}
        return {name: value for name, value in given.items() if name in accepted}

    def prepare_latents(
        self, batch: int, frames: int, generator: Generators, latents: Tensor | None = None
    ) -> Tensor:
        """The first latents (B, 8, T, F), float32 (float64 for float64 models), of the scheduler's
        scale: drawn, or those given. Raises ValueError for another shape or number of generators.
        """
        scale = self.vae_scale_factor
        channels: int = self.unet.config.in_channels
        shape = (batch, channels, frames // scale, self.vocoder.config.model_in_dim // scale)
        if latents is None:
            latents = draw(shape, generator, self.device, self._wide)
        elif latents.shape != shape:
            raise ValueError(
                f"`latents` has to have shape {shape} for this length and batch, but has "
                f"{tuple(latents.shape)}"
            )
        sigma: float = self.scheduler.init_noise_sigma
        return latents.to(self.device, self._wide) * sigma

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Latents (B, 8, T, F) -> log-mel spectrogram (B, 1, 4·T, 4·F)."""
        scaled = latents / self.vae.config.scaling_factor
        mel: Tensor = self.vae.decode(scaled.to(self.vae.dtype), return_dict=False)[0]
        return mel

    @torch.no_grad()
    def mel_spectrogram_to_waveform(self, mel_spectrogram: Tensor) -> Tensor:
        """Log-mel spectrogram (B, 1, T, 64) or (B, T, 64) -> audio (B, L) float32 on the CPU."""
        mel = mel_spectrogram.squeeze(1) if mel_spectrogram.dim() == 4 else mel_spectrogram
        chunk = _VOCODER_FRAMES if mel.shape[1] > 2 * _VOCODER_FRAMES else None
        audio: Tensor = self.vocoder(mel.to(self.vocoder.dtype), chunk=chunk)
        return audio.cpu().float()

    def enable_vae_slicing(self) -> None:
        """Decodes one row at a time: less memory, the same result."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Undoes `enable_vae_slicing`."""
        self.vae.disable_slicing()

    def fuse_qkv_projections(self) -> None:
        """Nothing to do: queries, keys and values are one product already."""

    def unfuse_qkv_projections(self) -> None:
        """Nothing to do, see `fuse_qkv_projections`."""

    def enable_attention_slicing(self, slice_size: Any = "auto") -> None:
        """Nothing to do: attention keeps no scores."""

    def disable_attention_slicing(self) -> None:
        """Nothing to do, see `enable_attention_slicing`."""

    @property
    def _hop_s(self) -> float:
        """Seconds per frame of the spectrogram."""
        factor: float = 1.0
        for rate in self.vocoder.config.upsample_rates:
            factor *= rate
        return factor / self.vocoder.config.sampling_rate  # type: ignore[no-any-return]

    @property
    def _wide(self) -> torch.dtype:
        """What latents are kept in: schedules lose too much in half precision."""
        return torch.promote_types(self.unet.dtype, torch.float32)

    def _lay_out(self) -> None:
        """Half-precision convolutions are faster with the channels last; results are the same."""
        for model in (self.unet, self.vae):
            half = model.dtype in (torch.bfloat16, torch.float16)
            first = next((p for p in model.parameters() if p.ndim == 4), None)
            if half and first is not None and not _channels_last(first):
                model.to(memory_format=torch.channels_last)

    def _check(
        self,
        prompt: Any,
        audio_length_in_s: float,
        callback_steps: Any,
        negative_prompt: Any,
        prompt_embeds: Tensor | None,
        negative_prompt_embeds: Tensor | None,
        num_waveforms_per_prompt: int | None,
        guidance_scale: float,
        output_type: str | None,
    ) -> tuple[int, int, bool]:
        """The number of prompts, of waveforms for each, and whether the call is guided."""
        check_call(
            prompt,
            audio_length_in_s,
            self._hop_s * self.vae_scale_factor,
            self.vocoder.config.model_in_dim,
            self.vae_scale_factor,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
        )
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"`output_type` has to be one of {OUTPUT_TYPES}, but is {output_type}")
        count = 1 if num_waveforms_per_prompt is None else num_waveforms_per_prompt
        if not isinstance(count, int) or count < 1:
            raise ValueError(
                f"`num_waveforms_per_prompt` has to be an integer >= 1, but is {count}"
            )
        batch = 1
        if isinstance(prompt, list):
            batch = len(prompt)
        elif prompt_embeds is not None:
            batch = prompt_embeds.shape[0]
        guided = guidance_scale > 1.0
        if guided:
            check_negative(prompt, negative_prompt, batch)
        return batch, count, guided

    def _labels(
        self,
        prompt: str | list[str] | None,
        negative_prompt: str | list[str] | None,
        prompt_embeds: Tensor | None,
        negative_prompt_embeds: Tensor | None,
        batch: int,
        count: int,
        guided: bool,
    ) -> Tensor:
        """The UNet's class labels (B · n, D); where guided, the negative ones in front of them."""
        prompts = [prompt] if isinstance(prompt, str) else prompt
        negatives = None
        if negative_prompt_embeds is None and negative_prompt is not None:
            single = isinstance(negative_prompt, str)
            negatives = [negative_prompt] * batch if single else negative_prompt
        positive, negative = encode_prompts(
            self.text_encoder,
            self.tokenizer,
            prompts,
            negatives,  # type: ignore[arg-type]
            batch,
            guided and negative_prompt_embeds is None,
            self.device,
        )
        positive = prompt_embeds if positive is None else positive
        negative = negative_prompt_embeds if negative is None else negative
        parts = [negative, positive] if guided else [positive]
        labels = [p.to(self.device, self.unet.dtype).repeat_interleave(count, 0) for p in parts]  # type: ignore[union-attr]
        return torch.cat(labels)

    def _frames(self, audio_length_in_s: float, samples: int) -> int:
        """Frames of the spectrogram: a multiple of the VAE's factor, and enough for the samples."""
        frames = int(audio_length_in_s / self._hop_s)
        scale = self.vae_scale_factor
        # Rounding may make it a frame too few; diffusers then returns less than was asked for.
        if _samples(self.vocoder.config, -(-frames // scale) * scale) < samples:
            frames += 1
        return -(-frames // scale) * scale

    def _denoise(
        self,
        latents: Tensor,
        timesteps: Tensor,
        labels: Tensor,
        guidance_scale: float | None,
        step_kwargs: dict[str, Any],
        total: int,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
        callback_steps: int = 1,
        after_step: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The loop: nothing in it waits for the device. `after_step` may replace the latents."""
        dtype = self.unet.dtype
        # What depends on time and label alone, of all steps at once.
        terms = self.unet.time_embeddings(timesteps, labels)

        def predict(x: Tensor, step_terms: Tensor) -> Tensor:
            x = x.to(dtype)
            both = x if guidance_scale is None else torch.cat([x, x])
            noise: Tensor = self.unet(both, 0, time_terms=step_terms, return_dict=False)[0]
            noise = noise.to(latents.dtype)
            if guidance_scale is None:
                return noise
            unconditional, conditional = noise.chunk(2)
            return unconditional + guidance_scale * (conditional - unconditional)

        order = self.scheduler.order
        warmup = len(timesteps) - total * order
        with self.progress_bar(total=total) as bar:
            for i, t in enumerate(timesteps):
                x = self.scheduler.scale_model_input(latents, t)
                noise = self._graphs.call(("denoise", guidance_scale), predict, x, terms[i])
                latents = self.scheduler.step(noise, t, latents, **step_kwargs).prev_sample
                if after_step is not None:
                    latents = after_step(i, latents)
                if i == len(timesteps) - 1 or (i + 1 > warmup and (i + 1) % order == 0):
                    bar.update()
                    if callback is not None and i % callback_steps == 0:
                        callback(i // order, t, latents)
        return latents

    def _output(
        self, latents: Tensor, samples: int, output_type: str | None, return_dict: bool
    ) -> Any:
        """Latents as what was asked for: audio of so many samples, the spectrogram, or as is."""
        audio: Any = latents
        if output_type != "latent":
            audio = self.decode_latents(latents)
        if output_type in ("np", "pt"):
            audio = self.mel_spectrogram_to_waveform(audio)[:, :samples]
        if output_type == "np":
            audio = audio.numpy()
        return AudioPipelineOutput(audios=audio) if return_dict else (audio,)


def _channels_last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last)


def _samples(vocoder: Any, frames: int) -> int:
    """Samples that a vocoder of this configuration makes of so many frames."""
    length = frames
    for rate, kernel in zip(vocoder.upsample_rates, vocoder.upsample_kernel_sizes, strict=True):
        length = (length - 1) * rate + kernel - 2 * ((kernel - rate) // 2)
    return length


def draw(
    shape: tuple[int, ...], generator: Generators, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """N(0, 1) noise: from a CPU generator on the CPU; row i from the i-th of several generators."""
    if isinstance(generator, (list, tuple)):
        if len(generator) == 1:
            generator = generator[0]
        elif len(generator) != shape[0]:
            raise ValueError(
                f"You have passed a list of generators of length {len(generator)}, but requested "
                f"an effective batch size of {shape[0]}. Make sure the batch size matches the "
                "length of the generators."
            )
        else:
            rows = [draw((1, *shape[1:]), each, device, dtype) for each in generator]
            return torch.cat(rows)
    place = device if generator is None else generator.device  # type: ignore[union-attr]
    return torch.randn(shape, generator=generator, device=place, dtype=dtype).to(device)  # type: ignore[arg-type]
