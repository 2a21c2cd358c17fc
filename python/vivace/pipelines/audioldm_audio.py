"""Audio as the input of AudioLDM: variations, inpainting and bandwidth extension by its text model.

Variations are SDEdit (Meng et al. 2021, arXiv:2108.01073); what inpainting keeps is put back, with
the noise of the level, after every step, as in Liu et al. 2023, arXiv:2301.12503, §3.4.
"""

import os
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vivace.audio import float_audio, load, resample
from vivace.models.audioldm.mel import log_mel, mel_edges, normalise
from vivace.pipelines import audioldm_masks as masks
from vivace.pipelines.base import Pipeline
from vivace.pipelines.outputs import AudioPipelineOutput
from vivace.schedulers.arithmetic import draw_noise

Generators = torch.Generator | Sequence[torch.Generator] | None
Audio = str | os.PathLike[str] | Tensor | np.ndarray


class AudioInputs(Pipeline):
    """The methods of AudioLDMPipeline that take audio.

    Audio is a file, whose first channel is used, or an array or tensor (L,) or (B, L) of any
    length. It is resampled to the model's rate and brought to the level of the training, without
    its mean and with a peak of 0.5, which the results have, too. They are as long as the input: L
    samples at 16 kHz. The VAE's latents are the mode of its distribution, so that all randomness
    is the generator's noise.
    """

    @torch.no_grad()
    def audio_to_audio(
        self,
        prompt: str | list[str],
        audio: Audio,
        strength: float = 0.5,
        *,
        sampling_rate: int | None = None,
        num_inference_steps: int = 200,
        guidance_scale: float = 2.5,
        negative_prompt: str | list[str] | None = None,
        num_waveforms_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generators = None,
        output_type: str | None = "np",
        return_dict: bool = True,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> Any:
        """The audio, changed towards the prompt -> AudioPipelineOutput, audios (B · n, L) float32.

        strength: 0 returns the reconstruction of the VAE and the vocoder, 1 begins with next to
        nothing but noise; of the num_inference_steps the last strength · num_inference_steps are
        done, rounded down. sampling_rate: of the audio in Hz, by default the model's, or the
        file's. One prompt may go with several clips, and one clip with several prompts. The other
        arguments are those of a call of the pipeline. Raises OSError for files that cannot be read,
        TypeError and ValueError for bad audio and arguments that do not go together.
        """
        return self._edit(
            "audio_to_audio",
            prompt,
            audio,
            strength,
            sampling_rate=sampling_rate,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            num_waveforms_per_prompt=num_waveforms_per_prompt,
            eta=eta,
            generator=generator,
            output_type=output_type,
            return_dict=return_dict,
            callback=callback,
            callback_steps=callback_steps,
        )

    @torch.no_grad()
    def inpaint(
        self,
        prompt: str | list[str],
        audio: Audio,
        mask_s: masks.Spans,
        strength: float = 1.0,
        *,
        keep_original: bool = False,
        **options: Any,
    ) -> Any:
        """Makes parts of the audio anew -> AudioPipelineOutput, audios (B · n, L) float32.

        mask_s: (start, end) in seconds, or several. A frame of latents, 0.04 s, is made anew if the
        mask touches it: starts are rounded down, ends up. The spectrogram of the others is that of
        the reconstruction; the audio too, but for what the vocoder carries over the edges.
        keep_original: outside the mask the samples of the input, at its level; they are faded over
        0.04 s next to the mask. strength: 1 forgets what was inside. **options: the keywords of
        `audio_to_audio`. Raises as that does, and ValueError or TypeError for a bad mask.
        """
        return self._edit(
            "inpaint", prompt, audio, strength, spans=mask_s, keep_original=keep_original, **options
        )

    @torch.no_grad()
    def super_resolution(
        self,
        prompt: str | list[str],
        audio: Audio,
        cutoff_hz: float,
        strength: float = 1.0,
        **options: Any,
    ) -> Any:
        """Makes what is above a frequency anew -> AudioPipelineOutput, audios (B · n, L) float32.

        cutoff_hz: where the audio ends. Latents have 16 bins of frequency: those that reach above
        the cutoff are made anew, the spectrogram of the others is that of the reconstruction.
        strength: 1 forgets what was above. **options: the keywords of `audio_to_audio`. Raises as
        that does, and ValueError for a cutoff that leaves nothing to keep or nothing to make.
        """
        return self._edit("super_resolution", prompt, audio, strength, cutoff=cutoff_hz, **options)

    def _edit(
        self,
        name: str,
        prompt: str | list[str],
        audio: Audio,
        strength: float,
        *,
        spans: Any = None,
        cutoff: Any = None,
        keep_original: bool = False,
        sampling_rate: int | None = None,
        num_inference_steps: int = 200,
        guidance_scale: float = 2.5,
        negative_prompt: str | list[str] | None = None,
        num_waveforms_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generators = None,
        output_type: str | None = "np",
        return_dict: bool = True,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> Any:
        if not isinstance(strength, Real) or not 0 <= float(strength) <= 1:
            raise ValueError(f"{name}: strength must be from 0 to 1, got {strength}")
        if keep_original and output_type not in ("np", "pt"):
            raise ValueError(
                f"{name}: keep_original needs output_type 'np' or 'pt', got {output_type!r}"
            )
        generator = list(generator) if isinstance(generator, (list, tuple)) else generator
        clips = self._clips(audio, sampling_rate, name)
        samples, rate = clips.shape[1], self.vocoder.config.sampling_rate
        # Shorter audio than the shortest spectrogram is padded.
        seconds = max(samples / rate, self._hop_s * self.vae_scale_factor)
        batch, count, guided = self._check(
            prompt,
            seconds,
            callback_steps,
            negative_prompt,
            None,
            None,
            num_waveforms_per_prompt,
            guidance_scale,
            output_type,
        )
        if 1 not in (batch, len(clips)) and batch != len(clips):
            raise ValueError(
                f"{name}: prompt and audio must be as many, or one of them one, got {batch} and "
                f"{len(clips)}"
            )
        if batch < len(clips):
            batch = len(clips)
            prompt, negative_prompt = (_repeated(p, batch) for p in (prompt, negative_prompt))
        frames = self._frames(seconds, samples)
        mask, span = None, []
        if name == "inpaint":
            span = masks.check_spans(spans, samples, rate)
            step = self.vocoder.config.hop_length * self.vae_scale_factor
            mask = masks.time_mask(span, step, frames // self.vae_scale_factor)
        elif name == "super_resolution":
            edges = mel_edges(self.vocoder.config.model_in_dim, rate)
            mask = masks.frequency_mask(cutoff, edges, self.vae_scale_factor)
        labels = self._labels(prompt, negative_prompt, None, None, batch, count, guided)
        mask = None if mask is None else mask.to(self.device)
        original = self._encoded(clips, frames).expand(batch, -1, -1, -1)
        latents = self._changed(
            original.repeat_interleave(count, 0),
            mask,
            strength,
            num_inference_steps,
            generator,
            labels=labels,
            guidance_scale=guidance_scale if guided else None,
            step_kwargs=self.prepare_extra_step_kwargs(generator, eta),
            callback=callback,
            callback_steps=callback_steps,
        )
        if mask is None or output_type == "latent":
            return self._output(latents, samples, output_type, return_dict)
        made: Any = self._spliced(latents, original, mask, count)
        if output_type != "mel":
            made = self.mel_spectrogram_to_waveform(made)[:, :samples]
        if keep_original:
            made = self._among(clips.expand(batch, -1).repeat_interleave(count, 0), made, span)
        if output_type == "np":
            made = made.numpy()
        return AudioPipelineOutput(audios=made) if return_dict else (made,)

    def _clips(self, audio: Any, sampling_rate: int | None, name: str) -> Tensor:
        """(B, L) float32 on the CPU at the model's rate."""
        wanted: int = self.vocoder.config.sampling_rate
        if isinstance(audio, (str, os.PathLike)):
            samples, rate = load(audio)
            if sampling_rate not in (None, rate):
                raise ValueError(
                    f"{name}: {audio} is at {rate} Hz, got sampling_rate {sampling_rate}"
                )
            samples = samples[:1]
        elif isinstance(audio, (Tensor, np.ndarray)):
            samples = float_audio(audio, f"{name}: audio")
            samples = samples[None] if samples.ndim == 1 else samples
            rate = wanted if sampling_rate is None else sampling_rate
        else:
            raise TypeError(
                f"{name}: audio must be an array, a tensor or a file, got {type(audio)}"
            )
        return resample(samples, rate, wanted)

    def _encoded(self, audio: Tensor, frames: int) -> Tensor:
        """Audio (B, L), normalised -> scaled latents (B, 8, frames / 4, F) of the VAE's mode."""
        config = self.vocoder.config
        missing = max(0, frames * config.hop_length - audio.shape[1])
        mel = log_mel(
            F.pad(normalise(audio)[0], (0, missing)).to(self.device),
            bins=config.model_in_dim,
            sampling_rate=config.sampling_rate,
            hop_length=config.hop_length,
        )[:, None, :frames]
        mode = self.vae.encode(mel.to(self.vae.dtype)).latent_dist.mode()
        latents: Tensor = mode.to(self._wide) * self.vae.config.scaling_factor
        return latents

    def _changed(
        self,
        original: Tensor,
        mask: Tensor | None,
        strength: float,
        steps: int,
        generator: Any,
        **options: Any,
    ) -> Tensor:
        """Noises the latents (B, 8, T, F) and denoises them; where the mask is not, they stay."""
        self.scheduler.set_timesteps(steps, device=self.device)
        # 0.29 · 100 is 28.999… in binary.
        left = int(strength * steps + 1e-6)
        if left == 0:
            return original
        first = _first_call(self.scheduler, steps, steps - left)
        self.scheduler.set_begin_index(first)
        timesteps = self.scheduler.timesteps[first:]
        # On the host, or schedules that look levels up would wait for the device in every step.
        levels = timesteps.cpu()[:, None].expand(-1, len(original))
        noise = draw_noise(original, generator)
        start = original
        if mask is not None and strength == 1:
            start = original.masked_fill(mask, 0.0)

        def put_back(i: int, latents: Tensor) -> Tensor:
            kept = original
            if i + 1 < len(levels):
                kept = self.scheduler.add_noise(original, noise, levels[i + 1])
            return torch.where(mask, latents, kept)  # type: ignore[arg-type]

        latents: Tensor = self._denoise(
            self.scheduler.add_noise(start, noise, levels[0]),
            timesteps,
            total=left,
            after_step=None if mask is None else put_back,
            **options,
        )
        return latents

    def _spliced(self, latents: Tensor, original: Tensor, mask: Tensor, count: int) -> Tensor:
        """The spectrogram (B · n, 1, T, 64): of the latents in the mask, else of the originals.

        Attention and norms of the VAE's decoder see the whole clip, so that equal latents alone
        would not give equal spectrograms.
        """
        kept = self.decode_latents(original).repeat_interleave(count, 0)
        for dim in (2, 3):
            if mask.shape[dim] > 1:
                mask = mask.repeat_interleave(self.vae_scale_factor, dim)
        return torch.where(mask, self.decode_latents(latents), kept)

    def _among(self, clips: Tensor, made: Tensor, spans: Any) -> Tensor:
        """What was made inside the spans (in samples), the clips outside: (B, L), the clips' level.

        Samples of the clips that no fade touches are bit for bit the same.
        """
        _, gain, mean = normalise(clips)
        width = self.vocoder.config.hop_length * self.vae_scale_factor
        weight = masks.fade(spans, width, clips.shape[1])
        mixed = weight * (made * gain + mean) + (1 - weight) * clips
        return torch.where(weight > 0, mixed.float(), clips)


def _repeated(prompt: str | list[str] | None, batch: int) -> Any:
    """One prompt for several clips; None stays None."""
    if prompt is None:
        return None
    return ([prompt] if isinstance(prompt, str) else prompt) * batch


def _first_call(scheduler: Any, steps: int, step: int) -> int:
    """The number of the call of the model with which a step begins."""
    calls = len(scheduler.timesteps)
    if scheduler.order > 1:
        return int(step * scheduler.order)
    # PNDM's warm-up: one more call for the first step, or three for each of the first steps.
    more = calls - steps
    each = 3 if more > 1 else 1
    return step + each * min(step, more // each)
