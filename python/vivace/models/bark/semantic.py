"""BarkSemanticModel: text ids to semantic tokens, 49.9 per second of speech."""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vivace.models.bark.config import BarkSemanticConfig
from vivace.models.bark.decoding import Decoder, until_all_end
from vivace.models.bark.generation_config import BarkSemanticGenerationConfig
from vivace.models.bark.gpt import BarkCausalModel
from vivace.models.bark.history import Histories, rows_of
from vivace.models.bark.sampling import Noise, Sampling

logger = logging.getLogger(__name__)

# Steps between two looks at whether all rows have ended, where a look makes the host wait.
_CHECK_EVERY = 8
_OWN = ("max_new_tokens", "min_eos_p", "progress")


class BarkSemanticModel(BarkCausalModel):
    """The text model: `generate` gives the semantic tokens of a text."""

    config_class = BarkSemanticConfig
    base_model_prefix = "semantic"

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        semantic_generation_config: BarkSemanticGenerationConfig | None = None,
        history_prompt: Histories = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """input_ids (B, <= 256) of the tokenizer, attention_mask alike -> tokens (B, n) int64.

        A row ends with the end token 10000, which fills it up to the longest row's end.
        history_prompt: see `vivace.models.bark.history`. Keywords: do_sample, temperature, top_k,
        top_p, min_p, min_eos_p (0: off), max_new_tokens (<= 768), generator (one for all rows, or
        a list of one per row), progress (called with the number of tokens and the most possible).
        The mask marks padding, which the model attends to all the same, as in transformers. Raises
        ValueError for bad ids, masks or settings.
        """
        config = semantic_generation_config
        if config is None:
            raise ValueError("`semantic_generation_config` has to be provided")
        own = {name: kwargs.pop(name) for name in _OWN if name in kwargs}
        sampling = Sampling.of("semantic", config, kwargs)
        batch = input_ids.shape[0]
        prompt = self._prompt(input_ids, attention_mask, history_prompt, config)
        steps = self._steps(own.get("max_new_tokens", config.max_new_tokens), prompt.shape[1])
        eos = config.eos_token_id
        if eos != config.semantic_vocab_size:
            raise ValueError(
                "semantic: the end token must follow the semantic tokens, got eos_token_id="
                f"{eos} and semantic_vocab_size={config.semantic_vocab_size}"
            )
        head = (0, eos + 1)
        cache = self.new_cache(batch)
        noise = Noise(sampling.generator, batch, self.device)
        min_eos_p = own.get("min_eos_p")
        min_eos_p = config.min_eos_p if min_eos_p is None else min_eos_p
        if min_eos_p is not None and min_eos_p < 0.0:
            raise ValueError(f"semantic: min_eos_p must be >= 0 (0: off) or None, got {min_eos_p}")
        decoder = Decoder(self, cache, sampling, noise, eos, min_eos_p or None)
        logits = self.prefill(prompt, cache, [prompt.shape[1]] * batch, *head)
        tokens = decoder.tokens(logits, True, steps, lambda _: head, list(range(batch)))
        progress = own.get("progress")
        if progress is not None:
            tokens = _counted(tokens, steps, progress)
        check_every = 1 if self.device.type == "cpu" else _CHECK_EVERY
        return until_all_end(tokens, eos, noise, check_every)

    def _prompt(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        history_prompt: Histories,
        config: BarkSemanticGenerationConfig,
    ) -> Tensor:
        """The embeddings (B, 257, C) of text and history, summed, and of the infer token."""
        length = config.max_input_semantic_length
        ids = self._text_ids(input_ids, attention_mask, config)
        histories = rows_of(history_prompt, ids.shape[0], self.device, ["semantic_prompt"])
        rows = []
        for history in histories:
            tokens = ids.new_empty(0) if history is None else history["semantic_prompt"][-length:]
            if bool(((tokens < 0) | (tokens > config.semantic_pad_token)).any()):
                raise ValueError(
                    f"history_prompt: semantic_prompt must hold ids in [0, "
                    f"{config.semantic_pad_token}], got {int(tokens.min())}..{int(tokens.max())}"
                )
            rows.append(F.pad(tokens, (0, length - len(tokens)), value=config.semantic_pad_token))
        embed = self.input_embeds_layer
        infer = embed(ids.new_full((ids.shape[0], 1), config.semantic_infer_token))
        return torch.cat((embed(ids) + embed(torch.stack(rows)), infer), dim=1)

    def _text_ids(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        config: BarkSemanticGenerationConfig,
    ) -> Tensor:
        """The text's ids (B, 256) in the model's numbers, cut or padded to the window."""
        length = config.max_input_semantic_length
        if input_ids.ndim != 2 or input_ids.is_floating_point():
            raise ValueError(
                "semantic: input_ids must be integers of shape (B, T), got "
                f"{input_ids.dtype} of shape {tuple(input_ids.shape)}"
            )
        ids = input_ids.to(self.device, torch.int64) + config.text_encoding_offset
        top = min(self.config.input_vocab_size, config.text_pad_token)
        if ids.numel() and bool(((ids < config.text_encoding_offset) | (ids >= top)).any()):
            raise ValueError(
                f"semantic: input_ids must be in [0, {top - config.text_encoding_offset}), got "
                f"{int(input_ids.min())}..{int(input_ids.max())}"
            )
        if attention_mask is not None:
            if attention_mask.shape != input_ids.shape:
                raise ValueError(
                    f"semantic: attention_mask must have shape {tuple(input_ids.shape)}, got "
                    f"{tuple(attention_mask.shape)}"
                )
            mask = attention_mask.to(self.device)
            ids = ids.masked_fill(mask == 0, config.text_pad_token)
            lost = bool((mask[:, length:] != 0).any())
        else:
            lost = ids.shape[1] > length
        if lost:
            logger.warning(
                "The text has more than %d tokens: what follows is not spoken. "
                "`generate_long` speaks texts of any length.",
                length,
            )
        ids = ids[:, :length]
        return F.pad(ids, (0, length - ids.shape[1]), value=config.text_pad_token)

    def _steps(self, max_new_tokens: int, prompt: int) -> int:
        """How many tokens to make: the last one is not fed, so it needs no position."""
        most: int = self.config.block_size - prompt + 1
        if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
            raise ValueError(
                f"semantic: max_new_tokens must be an integer >= 1, got {max_new_tokens!r}"
            )
        if max_new_tokens > most:
            logger.warning(
                "max_new_tokens=%d exceeds the model's window: %d are made", max_new_tokens, most
            )
        return min(max_new_tokens, most)


def _counted(tokens: Any, steps: int, progress: Any) -> Any:
    for count, ids in enumerate(tokens, start=1):
        progress(count, steps)
        yield ids
