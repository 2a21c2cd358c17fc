"""The same calls in transformers, with the same weights and inputs."""

from typing import Any

import torch
from torch import Tensor

from bench.models.bark.weights import theirs


class TheirToken:
    """A forward of one token with a cache of the same keys and values, and generate's draw."""

    def __init__(self, model: Any, stage: str, ours: Any) -> None:
        from transformers import DynamicCache
        from transformers.generation import logits_process as processors

        self.peer = theirs(model, stage)
        first, rows = ours.head
        self.rows = slice(first, first + rows)
        self.ids, self.context = ours.ids[None], ours.context
        self.cache = DynamicCache(config=self.peer.config)
        for layer in range(model.config.num_layers):
            keys, values = ours.cache.layer(layer)
            self.cache.update(keys[:, :, : self.context], values[:, :, : self.context], layer)
        allowed = set(range(first, first + rows))
        others = [i for i in range(model.config.output_vocab_size) if i not in allowed]
        self.process = processors.LogitsProcessorList(
            [
                processors.SuppressTokensLogitsProcessor(others, device=model.device),
                processors.TemperatureLogitsWarper(0.7),
                processors.TopKLogitsWarper(50),
                processors.LogitNormalization(),
            ]
        )

    def __call__(self) -> Tensor:
        with torch.no_grad():
            output = self.peer(self.ids, past_key_values=self.cache, use_cache=True)
            logits: Tensor = output.logits[:, -1].to(torch.float32, copy=True)
            scores = self.process(self.ids, logits)
            torch.multinomial(scores.softmax(-1), 1)
        self.cache.crop(-1)
        return logits[:, self.rows]


class TheirPrefill:
    """A forward of the prompt: all positions go through the head."""

    def __init__(self, model: Any, stage: str, ours: Any) -> None:
        self.peer = theirs(model, stage)
        first, rows = ours.head
        self.rows, self.ids = slice(first, first + rows), ours.ids

    def __call__(self) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.peer(self.ids, use_cache=True).logits
        return logits[:, -1, self.rows].float()


class TheirFine:
    """A forward of one codebook."""

    def __init__(self, ours: Any) -> None:
        self.peer = theirs(ours.model, "fine")
        self.codes = ours.codes

    def __call__(self) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.peer(5, self.codes).logits
        return logits[..., :1024].float()


class TheirCodec:
    """The quantizer's and the decoder's part of transformers' EncodecModel."""

    def __init__(self, ours: Any) -> None:
        self.peer = theirs(ours.model, "codec")
        self.codes = ours.codes

    def __call__(self) -> Tensor:
        with torch.no_grad():
            audio: Tensor = self.peer.decoder(
                self.peer.quantizer.decode(self.codes.transpose(0, 1))
            )
        return audio
