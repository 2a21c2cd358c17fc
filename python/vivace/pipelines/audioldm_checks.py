"""Validation of AudioLDM's arguments, with diffusers' texts where it has them."""

from typing import Any

from torch import Tensor


def check_call(
    prompt: Any,
    audio_length_in_s: float,
    least_length_s: float,
    bins: int,
    scale_factor: int,
    callback_steps: Any,
    negative_prompt: Any,
    prompt_embeds: Tensor | None,
    negative_prompt_embeds: Tensor | None,
) -> None:
    """Raises ValueError or TypeError for arguments that do not go together."""
    if not least_length_s <= audio_length_in_s < 3600 * 24:
        raise ValueError(
            f"`audio_length_in_s` has to be a positive value greater than or equal to "
            f"{least_length_s}, but is {audio_length_in_s}."
        )
    if bins % scale_factor:
        raise ValueError(
            "The number of frequency bins in the vocoder's log-mel spectrogram has to be divisible "
            f"by the VAE scale factor, but got {bins} bins and a scale factor of {scale_factor}."
        )
    if not isinstance(callback_steps, int) or callback_steps <= 0:
        raise ValueError(
            f"`callback_steps` has to be a positive integer but is {callback_steps} of type "
            f"{type(callback_steps)}."
        )
    if prompt is not None and prompt_embeds is not None:
        raise ValueError(
            f"Cannot forward both `prompt`: {prompt} and `prompt_embeds`: {prompt_embeds}. "
            "Please make sure to only forward one of the two."
        )
    if prompt is None and prompt_embeds is None:
        raise ValueError(
            "Provide either `prompt` or `prompt_embeds`. Cannot leave both `prompt` and "
            "`prompt_embeds` undefined."
        )
    if prompt is not None and not isinstance(prompt, (str, list)):
        raise ValueError(f"`prompt` has to be of type `str` or `list` but is {type(prompt)}")
    if negative_prompt is not None and negative_prompt_embeds is not None:
        raise ValueError(
            f"Cannot forward both `negative_prompt`: {negative_prompt} and "
            f"`negative_prompt_embeds`: {negative_prompt_embeds}. Please make sure to only forward "
            "one of the two."
        )
    embeds = [x.shape for x in (prompt_embeds, negative_prompt_embeds) if x is not None]
    if len(set(embeds)) > 1:
        raise ValueError(
            "`prompt_embeds` and `negative_prompt_embeds` must have the same shape when passed "
            f"directly, but got: `prompt_embeds` {embeds[0]} != "
            f"`negative_prompt_embeds` {embeds[1]}."
        )
    if isinstance(prompt, list) and not prompt:
        raise ValueError("`prompt` has to hold at least one text, but is an empty list")
    for name, value in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if isinstance(value, list) and not all(isinstance(text, str) for text in value):
            raise TypeError(f"`{name}` has to be a list of `str`, but is {value!r}")


def check_negative(prompt: Any, negative_prompt: Any, batch: int) -> None:
    """The negative prompt of a guided call: of the prompt's type, and one per prompt."""
    if negative_prompt is None:
        return
    if prompt is not None and type(prompt) is not type(negative_prompt):
        raise TypeError(
            "`negative_prompt` should be the same type to `prompt`, but got "
            f"{type(negative_prompt)} != {type(prompt)}."
        )
    count = 1 if isinstance(negative_prompt, str) else len(negative_prompt)
    if isinstance(negative_prompt, list) and count != batch:
        raise ValueError(
            f"`negative_prompt`: {negative_prompt} has batch size {count}, but `prompt`: {prompt} "
            f"has batch size {batch}. Please make sure that passed `negative_prompt` matches the "
            "batch size of `prompt`."
        )
