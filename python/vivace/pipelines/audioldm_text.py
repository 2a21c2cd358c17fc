"""Prompts to CLAP embeddings: at their true length, prompt and negative prompt in one call."""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace.ops._packed import packed

logger = logging.getLogger(__name__)


def encode_prompts(
    text_encoder: Any,
    tokenizer: Any,
    prompt: list[str] | None,
    negative_prompt: list[str] | None,
    batch: int,
    guided: bool,
    device: torch.device,
) -> tuple[Tensor | None, Tensor | None]:
    """Unit vectors (B, D) of the prompts and, where guided, of the negative ones.

    What is None is not encoded, but for the negative prompt, whose default is the empty text: its
    vector is kept beside the weights that made it. Padding is inert, so texts are padded to the
    longest of them, not to the model's 512 tokens.
    """
    texts = list(prompt or [])
    if guided and negative_prompt is not None:
        texts += negative_prompt
    vectors = _embed(text_encoder, tokenizer, texts, device) if texts else None
    count = len(prompt or [])
    positive = None if prompt is None or vectors is None else vectors[:count]
    if not guided:
        return positive, None
    if negative_prompt is not None:
        assert vectors is not None
        return positive, vectors[count:]
    weights = tuple(text_encoder.parameters())
    empty = packed(
        weights,
        ("audioldm", "empty prompt"),
        lambda: _embed(text_encoder, tokenizer, [""], device),
    )
    return positive, empty.expand(batch, -1)


def _embed(text_encoder: Any, tokenizer: Any, texts: list[str], device: torch.device) -> Tensor:
    limit = tokenizer.model_max_length
    inputs = tokenizer(
        texts, padding="longest", max_length=limit, truncation=True, return_tensors="pt"
    )
    _warn_of_truncation(tokenizer, texts, limit)
    output = text_encoder(
        inputs["input_ids"].to(device), attention_mask=inputs["attention_mask"].to(device)
    )
    vectors: Tensor = F.normalize(output.text_embeds, dim=-1)
    return vectors


def _warn_of_truncation(tokenizer: Any, texts: list[str], limit: int) -> None:
    # A token is at least a byte: shorter texts need no second look.
    for text in texts:
        if len(text.encode()) + 2 <= limit:
            continue
        ids = tokenizer(text, padding=False)["input_ids"]
        if len(ids) > limit:
            logger.warning(
                "The following part of your input was truncated because CLAP can only handle "
                "sequences up to %d tokens: %s",
                limit,
                tokenizer.decode(ids[limit - 1 : -1]),
            )
