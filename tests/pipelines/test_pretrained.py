"""Pipelines in folders: both libraries' files, the layout of 2023, dtypes, parts, bad folders."""

import copy
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.pipelines.helpers import generator, swap
from vivace import AudioLDMPipeline, schedulers

SHORT = {"num_inference_steps": 2, "audio_length_in_s": 0.2}
# The names that diffusers 0.15 gave the VAE's attention.
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def audio(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline("a dog", generator=generator(), **SHORT).audios


@pytest.fixture
def folder(pipelines: tuple[Any, Any], tmp_path: Path) -> Path:
    pipelines[0].save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_diffusers_loads_what_is_saved(pipelines: tuple[Any, Any], tmp_path: Path) -> None:
    theirs, ours = pipelines
    swap(pipelines, "EulerDiscreteScheduler")
    ours.save_pretrained(tmp_path)
    loaded = diffusers.AudioLDMPipeline.from_pretrained(tmp_path)
    assert type(loaded.scheduler).__name__ == "EulerDiscreteScheduler"
    assert np.abs(audio(loaded) - audio(theirs)).max() < 1e-5
    again = AudioLDMPipeline.from_pretrained(tmp_path)
    assert isinstance(again.scheduler, schedulers.EulerDiscreteScheduler)
    assert np.array_equal(audio(again), audio(ours))


def test_the_layout_of_2023(ours: Any, folder: Path) -> None:
    """Pickles, old names of the VAE's attention, position_ids, a vocoder called hifigan."""
    for part in ("unet", "vae", "text_encoder", "vocoder"):
        (source,) = (folder / part).glob("*.safetensors")
        state = load_file(source)
        if part == "vae":
            for new, old in OLD.items():
                state = {key.replace(f".{new}.", f".{old}."): v for key, v in state.items()}
            assert any("query" in key for key in state)
        if part == "text_encoder":
            state["text_model.embeddings.position_ids"] = torch.arange(514)[None]
        named = "diffusion_pytorch_model.bin" if part in ("unet", "vae") else "pytorch_model.bin"
        torch.save(state, folder / part / named)
        source.unlink()
    config = json.loads((folder / "vocoder" / "config.json").read_text())
    (folder / "vocoder" / "config.json").write_text(json.dumps({**config, "model_type": "hifigan"}))
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "RobertaTokenizerFast"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert np.array_equal(audio(AudioLDMPipeline.from_pretrained(folder)), audio(ours))


def test_dtypes(folder: Path) -> None:
    half = AudioLDMPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert {half.unet.dtype, half.vae.dtype, half.vocoder.dtype} == {torch.bfloat16}
    assert half.dtype == torch.bfloat16
    mixed = AudioLDMPipeline.from_pretrained(
        folder, dtype={"unet": torch.bfloat16, "default": torch.float32}
    )
    assert mixed.unet.dtype == torch.bfloat16
    assert mixed.vae.dtype == torch.float32
    assert np.isfinite(audio(mixed)).all()
    with pytest.raises(ValueError, match=r"dtype must be a torch.dtype or a dict, got 'half'"):
        AudioLDMPipeline.from_pretrained(folder, dtype="half")


def test_parts(ours: Any, folder: Path) -> None:
    scheduler = schedulers.DPMSolverMultistepScheduler.from_config(ours.scheduler.config)
    loaded = AudioLDMPipeline.from_pretrained(folder, scheduler=scheduler, unet=ours.unet)
    assert loaded.scheduler is scheduler
    assert loaded.unet is ours.unet
    assert set(loaded.components) == set(ours.component_classes)
    other = AudioLDMPipeline.from_pipe(loaded, scheduler=ours.scheduler)
    assert other.vae is loaded.vae
    assert np.array_equal(audio(other), audio(ours))
    loaded.scheduler = ours.scheduler
    assert loaded.config["scheduler"] == ["diffusers", "DDIMScheduler"]
    assert loaded.to("cpu", torch.float32) is loaded
    assert loaded.device == torch.device("cpu")
    assert "unet=UNet2DConditionModel" in repr(loaded)


def test_copies_are_independent(ours: Any) -> None:
    expected = audio(ours)
    other = copy.deepcopy(ours)
    with torch.no_grad():
        other.unet.conv_in.weight.zero_()
    assert np.array_equal(audio(ours), expected)


def test_bad_folders(folder: Path, tmp_path: Path) -> None:
    load = AudioLDMPipeline.from_pretrained
    with pytest.raises(OSError, match=r"model_index\.json"):
        load(tmp_path)
    with pytest.raises(TypeError, match=r"unknown keywords \['colour'\]"):
        load(folder, colour="red")
    index_file = folder / "model_index.json"
    index = json.loads(index_file.read_text())
    index_file.write_text(json.dumps({**index, "_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(ValueError, match="is of a StableDiffusionPipeline"):
        load(folder)
    index_file.write_text(json.dumps({**index, "scheduler": ["os", "system"]}))
    with pytest.raises(ValueError, match="there is no scheduler 'system'"):
        load(folder)
    index_file.write_text(json.dumps({k: v for k, v in index.items() if k != "vae"}))
    with pytest.raises(ValueError, match="has no 'vae'"):
        load(folder)
    index_file.write_text(json.dumps(index))
    (folder / "vae" / "config.json").write_text("[]")
    with pytest.raises(OSError, match="must hold a JSON object"):
        load(folder)


def test_the_progress_bar(ours: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="Either `total` or `iterable`"):
        ours.progress_bar()
    ours.set_progress_bar_config(disable=False, desc="steps")
    try:
        ours("a", **SHORT)
    finally:
        ours.set_progress_bar_config(disable=True)
    assert "steps: 100%" in capsys.readouterr().err
