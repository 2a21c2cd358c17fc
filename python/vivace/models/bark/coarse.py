"""BarkCoarseModel: semantic tokens to the first two codebooks, 75 frames per second, in windows.

A window sees 256 semantic tokens and up to 630 coarse ones, and makes 60. Where nothing has slid
out of the window yet, the next one begins with exactly what this one ends with: its keys and values
are kept, and nothing is computed twice.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vivace.models.bark.coarse_plan import CoarsePlan
from vivace.models.bark.config import BarkCoarseConfig
from vivace.models.bark.decoding import Decoder, Head
from vivace.models.bark.generation_config import (
    BarkCoarseGenerationConfig,
    BarkSemanticGenerationConfig,
)
from vivace.models.bark.gpt import BarkCausalModel
from vivace.models.bark.history import Histories
from vivace.models.bark.sampling import Noise, Sampling


class BarkCoarseModel(BarkCausalModel):
    """The coarse model: `generate` gives the interleaved tokens of two codebooks."""

    config_class = BarkCoarseConfig
    base_model_prefix = "coarse_acoustics"

    @torch.no_grad()
    def generate(
        self,
        semantic_output: Tensor,
        semantic_generation_config: BarkSemanticGenerationConfig | None = None,
        coarse_generation_config: BarkCoarseGenerationConfig | None = None,
        codebook_size: int = 1024,
        history_prompt: Histories = None,
        return_output_lengths: bool | None = None,
        **kwargs: Any,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """semantic_output (B, n) of the semantic model -> tokens (B, m) int64, frame by frame.

        A token is 10000 + 1024 · codebook + code. Rows shorter than the longest are filled with the
        coarse pad token 12048. With `return_output_lengths` also the tokens of each row (B,) int32.
        Keywords: do_sample, temperature, top_k, top_p, min_p, generator, progress. The input is not
        changed. Raises ValueError for bad tokens or settings.
        """
        windows = self.windows(
            semantic_output,
            semantic_generation_config,
            coarse_generation_config,
            codebook_size,
            history_prompt,
            **kwargs,
        )
        lengths: Tensor = next(windows)
        made = list(windows)
        batch = semantic_output.shape[0]
        coarse = torch.cat(made, 1) if made else lengths.new_empty((batch, 0), dtype=torch.int64)
        return (coarse, lengths) if return_output_lengths else coarse

    @torch.no_grad()
    def windows(
        self,
        semantic_output: Tensor,
        semantic_generation_config: BarkSemanticGenerationConfig | None = None,
        coarse_generation_config: BarkCoarseGenerationConfig | None = None,
        codebook_size: int = 1024,
        history_prompt: Histories = None,
        **kwargs: Any,
    ) -> Iterator[Tensor]:
        """As `generate`, piece by piece: first the lengths (B,), then each window's (B, <= 60)."""
        semantic, config = semantic_generation_config, coarse_generation_config
        if semantic is None:
            raise ValueError("`semantic_generation_config` has to be provided")
        if config is None:
            raise ValueError("`coarse_generation_config` has to be provided")
        progress = kwargs.pop("progress", None)
        sampling = Sampling.of("coarse", config, kwargs)
        noise = Noise(sampling.generator, semantic_output.shape[0], self.device)
        plan = CoarsePlan(semantic, config, codebook_size)
        lengths = plan.lengths(semantic_output)
        yield lengths
        rows = plan.rows(semantic_output.to(self.device), lengths.tolist(), history_prompt)
        total = max((row.length for row in rows), default=0)
        heads = self._heads(semantic.semantic_vocab_size, codebook_size, config.n_coarse_codebooks)
        decoder = Decoder(self, self.new_cache(0), sampling, noise)
        decoder.draws = [row.length for row in rows]
        active: list[int] = []
        last = lengths
        for done in range(0, total, config.sliding_window_len):
            steps = min(config.sliding_window_len, total - done)
            wanted = [i for i, row in enumerate(rows) if row.length > done]
            seamless = wanted == active and all(plan.continues(rows[i], done) for i in active)
            if not seamless:
                if len(wanted) != len(active):
                    decoder.cache = self.new_cache(len(wanted))
                active = wanted
                ids, sizes = plan.inputs([rows[i] for i in active], done)
                embeds = self.input_embeds_layer(ids)
                last = self.prefill(embeds, decoder.cache, sizes, *heads[done % len(heads)])
            made = lengths.new_full(
                (len(rows), steps), config.coarse_semantic_pad_token, dtype=torch.int64
            )

            def head_of(step: int, done: int = done) -> Head:
                return heads[(done + step) % len(heads)]

            tokens = decoder.tokens(last, not seamless, steps, head_of, active)
            for step, last in enumerate(tokens):
                made[active, step] = last
                if progress is not None:
                    progress(done + step + 1, total)
            for i in active:
                rows[i].coarse = torch.cat((rows[i].coarse, made[i]))
                made[i, max(0, rows[i].length - done) :] = config.coarse_semantic_pad_token
            yield made

    def _heads(self, vocabulary: int, codebook_size: int, books: int) -> list[Head]:
        """The rows of the head that each codebook's step may choose from.

        The last codebook's go on to the end of the vocabulary, as in transformers.
        """
        first = [vocabulary + book * codebook_size for book in range(books)]
        heads = [(at, codebook_size) for at in first]
        heads[-1] = (first[-1], self.config.output_vocab_size - first[-1])
        return heads
