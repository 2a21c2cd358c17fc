"""A tiny AudioLDM of diffusers with random weights, in a folder that both libraries load."""

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.models.audioldm import helpers_text, helpers_unet
from tests.models.audioldm.test_tokenizer import trained
from vivace import AudioLDMPipeline

# cvssp/audioldm-s-full-v2.
SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "thresholding": False,
}
DIM = 24  # of the text's vector
BINS = 16  # of the spectrogram; half as many of latents, which the UNet halves twice


def components(folder: Path) -> dict[str, Any]:
    """diffusers' and transformers' parts: 16 mel bins, 160 samples a frame."""
    unet = diffusers.UNet2DConditionModel(
        **helpers_unet.TINY
        | {
            "in_channels": 3,
            "out_channels": 3,
            "projection_class_embeddings_input_dim": DIM,
            "sample_size": 32,
        }
    )
    vae = diffusers.AutoencoderKL(**helpers_unet.TINY_VAE)
    for model in (unet, vae):
        helpers_unet.randomise(model)
    text = transformers.ClapTextModelWithProjection(
        transformers.ClapTextConfig(
            **helpers_text.TEXT | {"vocab_size": 500, "max_position_embeddings": 514}
        )
    )
    vocoder = transformers.SpeechT5HifiGan(
        transformers.SpeechT5HifiGanConfig(
            **helpers_text.VOCODER | {"model_in_dim": BINS, "sampling_rate": 16000}
        )
    )
    for model in (text, vocoder):
        helpers_text.randomize(model)
    trained().save(str(folder))
    tokenizer = transformers.RobertaTokenizerFast(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=512
    )
    models = {"unet": unet, "vae": vae, "text_encoder": text, "vocoder": vocoder}
    return {
        **{name: model.eval() for name, model in models.items()},
        "tokenizer": tokenizer,
        "scheduler": diffusers.DDIMScheduler(**SCHEDULER),
    }


def pair(folder: Path) -> tuple[Any, Any]:
    """(diffusers' pipeline, ours), without progress bars."""
    folder.mkdir(parents=True, exist_ok=True)
    oracle = diffusers.AudioLDMPipeline(**components(folder))
    oracle.save_pretrained(folder / "pipeline")
    ours = AudioLDMPipeline.from_pretrained(folder / "pipeline")
    for each in (oracle, ours):
        each.set_progress_bar_config(disable=True)
    return oracle, ours


def swap(pipelines: tuple[Any, Any], name: str, **options: Any) -> None:
    """Gives both the scheduler of this name, made from the one that they have."""
    from vivace import schedulers

    oracle, ours = pipelines
    oracle.scheduler = getattr(diffusers, name).from_config(oracle.scheduler.config, **options)
    ours.scheduler = getattr(schedulers, name).from_config(ours.scheduler.config, **options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
