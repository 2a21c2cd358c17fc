"""Weights files of descript-audio-codec 1.0.0 (`weights_*.pth`): names and settings -> ours.

Such a file is {"state_dict": …, "metadata": {"kwargs": arguments of the model's constructor}}, with
the convolutions in weight norm.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vivace.hub import fold_state_dict, load_pickled
from vivace.models.dac.config import DacConfig

# Arguments of the constructor and their defaults.
_DEFAULTS: dict[str, Any] = {
    "encoder_dim": 64,
    "encoder_rates": [2, 4, 8, 8],
    "latent_dim": None,
    "decoder_dim": 1536,
    "decoder_rates": [8, 8, 4, 2],
    "n_codebooks": 9,
    "codebook_size": 1024,
    "codebook_dim": 8,
    "quantizer_dropout": False,
    "sample_rate": 44100,
}

# A residual unit is a sequence of four.
_UNIT = ("snake1", "conv1", "snake2", "conv2")
_HALF = re.compile(r"(?P<half>encoder\.block|decoder\.model)\.(?P<index>\d+)\.(?P<rest>.+)")
_UNIT_KEY = re.compile(r"block\.(?P<place>\d+)\.block\.(?P<layer>[0-3])\.(?P<leaf>.+)")
_LAYER_KEY = re.compile(r"block\.(?P<place>\d+)\.(?P<leaf>(?!block\.).+)")


def load_descript(path: str | os.PathLike[str]) -> tuple[DacConfig, dict[str, Tensor]]:
    """Reads a weights file: configuration and state dict of a `DacModel` without weight norm.

    Only tensors and plain containers are unpickled. Raises OSError if the file is missing or
    damaged, ValueError if it holds anything but the weights of a DAC model.
    """
    content = load_pickled(path)
    try:
        return _convert(content)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"the file {os.fspath(path)} holds no weights of descript-audio-codec: {error}"
        ) from error


def _convert(content: Any) -> tuple[DacConfig, dict[str, Tensor]]:
    if not isinstance(content, Mapping) or not {"state_dict", "metadata"} <= set(content):
        raise ValueError("expected the entries 'state_dict' and 'metadata'")
    state, metadata = content["state_dict"], content["metadata"]
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("kwargs"), Mapping):
        raise ValueError("expected the model's arguments in metadata['kwargs']")
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError("expected tensors in 'state_dict'")
    config = _config({**_DEFAULTS, **metadata["kwargs"]})
    encoder_blocks, decoder_blocks = len(config.downsampling_ratios), len(config.upsampling_ratios)
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        name = _name(str(key), encoder_blocks, decoder_blocks)
        if name is None or name in converted:
            raise ValueError(f"unexpected key {key!r}")
        converted[name] = value
    folded = fold_state_dict(converted)
    _check(folded, config)
    config.dtype = next(iter(folded.values())).dtype
    # What is not folded still lies in the mapped file, which somebody may overwrite later.
    return config, {key: v.clone() if key in converted else v for key, v in folded.items()}


def _config(kwargs: Mapping[str, Any]) -> DacConfig:
    latent_dim = kwargs["latent_dim"]
    given = {} if latent_dim is None else {"hidden_size": int(latent_dim)}
    books = kwargs["codebook_dim"]
    if isinstance(books, (list, tuple)):
        if len(set(books)) != 1:
            raise ValueError(f"codebooks of different widths {list(books)} are not supported")
        books = books[0]
    return DacConfig(
        encoder_hidden_size=kwargs["encoder_dim"],
        downsampling_ratios=list(kwargs["encoder_rates"]),
        upsampling_ratios=list(kwargs["decoder_rates"]),
        decoder_hidden_size=kwargs["decoder_dim"],
        n_codebooks=kwargs["n_codebooks"],
        codebook_size=kwargs["codebook_size"],
        codebook_dim=books,
        quantizer_dropout=float(kwargs["quantizer_dropout"]),
        sampling_rate=kwargs["sample_rate"],
        **given,
    )


def _name(key: str, encoder_blocks: int, decoder_blocks: int) -> str | None:
    """Our name of a key, or None if the key belongs to no DAC model."""
    if key.startswith("quantizer.quantizers."):
        return key
    found = _HALF.fullmatch(key)
    if found is None:
        return None
    half, index, rest = found["half"].split(".")[0], int(found["index"]), found["rest"]
    blocks = encoder_blocks if half == "encoder" else decoder_blocks
    if index == 0:
        return f"{half}.conv1.{rest}"
    if index == blocks + 1:
        return f"{half}.snake1.{rest}"
    if index == blocks + 2:
        return f"{half}.conv2.{rest}"
    inner = _name_in_block(rest, half) if index <= blocks else None
    return None if inner is None else f"{half}.block.{index - 1}.{inner}"


def _name_in_block(key: str, half: str) -> str | None:
    # Encoder: three units, snake, convolution. Decoder: snake, transposed convolution, three units.
    layers, first_unit = (
        ({3: "snake1", 4: "conv1"}, 0) if half == "encoder" else ({0: "snake1", 1: "conv_t1"}, 2)
    )
    unit = _UNIT_KEY.fullmatch(key)
    if unit:
        number = int(unit["place"]) - first_unit + 1
        layer = _UNIT[int(unit["layer"])]
        return f"res_unit{number}.{layer}.{unit['leaf']}" if 1 <= number <= 3 else None
    layer_key = _LAYER_KEY.fullmatch(key)
    if layer_key is None or int(layer_key["place"]) not in layers:
        return None
    return f"{layers[int(layer_key['place'])]}.{layer_key['leaf']}"


def _check(state: Mapping[str, Tensor], config: DacConfig) -> None:
    """A few shapes that tie the weights to the settings; loading the model checks all of them."""
    last = config.n_codebooks - 1
    expected = {
        "encoder.conv1.weight": (config.encoder_hidden_size, 1, 7),
        "decoder.conv1.weight": (config.decoder_hidden_size, config.hidden_size, 7),
        f"quantizer.quantizers.{last}.codebook.weight": (config.codebook_size, config.codebook_dim),
    }
    for key, shape in expected.items():
        found = tuple(state[key].shape) if key in state else None
        if found != shape:
            raise ValueError(f"{key} must have shape {shape}, got {found or 'nothing'}")
    if f"quantizer.quantizers.{last + 1}.codebook.weight" in state:
        raise ValueError(f"more codebooks than the {config.n_codebooks} of metadata['kwargs']")
    # Per half: two convolutions, a snake, and blocks of three units, a snake and a convolution.
    blocks = len(config.downsampling_ratios) + len(config.upsampling_ratios)
    complete = 2 * (2 + 2 + 1) + blocks * (3 * 6 + 1 + 2) + config.n_codebooks * 5
    if len(state) != complete:
        raise ValueError(f"expected {complete} tensors, got {len(state)}")
    if not all(torch.is_floating_point(value) for value in state.values()):
        raise ValueError("expected floating point weights")
