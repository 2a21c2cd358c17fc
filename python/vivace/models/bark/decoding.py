"""The loop of the autoregressive stages: logits, a draw, the next token through the model."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vivace.models.bark.gpt import BarkCausalModel
from vivace.models.bark.sampling import Noise, Sampling
from vivace.nn.kv_cache import KVCache
from vivace.ops.gpt_decode_step import DecodeWeights
from vivace.ops.sample import sample

# Rows of the head that a step may choose from: the first and how many.
Head = tuple[int, int]


class Decoder:
    """Decodes one token per row and step, for the length of one call of `generate`.

    `active`: the rows of the batch that the cache holds. From one generator noise is drawn for the
    whole batch, as transformers draws it; from generators of their own, rows draw as often as they
    would alone: `draws` times, where that is known.
    """

    def __init__(
        self,
        model: BarkCausalModel,
        cache: KVCache,
        sampling: Sampling,
        noise: Noise,
        eos: int = -1,
        min_eos_p: float | None = None,
    ) -> None:
        self.model, self.cache, self.sampling, self.noise = model, cache, sampling, noise
        self.eos, self.min_eos_p = (eos, min_eos_p) if min_eos_p is not None else (-1, 1.0)
        self.weights: DecodeWeights = model.decode_weights()
        self.width = model.config.output_vocab_size
        self.draws: list[int] | None = None
        self.drawn = 0

    def draw(self, active: list[int], head: Head) -> Tensor | None:
        """The noise of one step for the active rows and the head's rows, or None if greedy."""
        if not self.sampling.do_sample:
            return None
        rows = active
        if self.draws is not None:
            rows = [row for row in active if self.drawn < self.draws[row]]
        self.drawn += 1
        noise = self.noise.draw(self.width, rows=rows)
        noise = noise if len(active) == len(noise) else noise[active]
        return noise[:, head[0] : head[0] + head[1]]

    def choose(self, logits: Tensor, noise: Tensor | None, head: Head) -> Tensor:
        """The ids (B,) chosen from logits (B, rows) of a head."""
        s = self.sampling
        ids: Tensor = sample(
            logits, noise, s.temperature, s.top_k, s.top_p, s.min_p, self.eos, self.min_eos_p
        )
        return ids + head[0]

    def step(self, ids: Tensor, noise: Tensor | None, head: Head) -> Tensor:
        """The tokens after ids (B,): the model's step and the choice, one graph on a GPU."""
        first, rows = head
        cache = self.cache
        # A graph is frozen: there the bound is what the cache can hold.
        longest = cache.longest if ids.device.type == "cpu" else cache.capacity - 1

        def run(ids: Tensor, *noise: Tensor) -> Tensor:
            logits = self.model.decode(self.weights, ids, cache, first, rows, longest)
            return self.choose(logits, noise[0] if noise else None, head)

        name = (cache.keys.data_ptr(), cache.lengths.data_ptr(), head, self.eos, self.min_eos_p)
        settings = (*name, self.sampling.temperature, self.sampling.top_k, self.sampling.top_p)
        inputs = (ids,) if noise is None else (ids, noise)
        chosen: Tensor = self.model.graphs.call((*settings, self.sampling.min_p), run, *inputs)
        cache.longest += 1
        return chosen

    def tokens(
        self,
        start: Tensor,
        is_logits: bool,
        steps: int,
        head_of: Callable[[int], Head],
        active: list[int],
    ) -> Iterator[Tensor]:
        """`steps` tokens (B,) in turn, beginning with logits of a prefill or with the last ids."""
        ids = start
        for step in range(steps):
            head = head_of(step)
            noise = self.draw(active, head)
            first_of_prefill = step == 0 and is_logits
            ids = (
                self.choose(start, noise, head) if first_of_prefill else self.step(ids, noise, head)
            )
            yield ids


def until_all_end(
    tokens: Iterator[Tensor],
    eos: int,
    noise: Noise,
    check_every: int,
) -> Tensor:
    """The tokens (B, n) up to where the last row has ended, rows that ended before filled with eos.

    A look at the tokens makes the host wait for the device, so it happens every few steps; what was
    drawn beyond the end is taken back.
    """
    chosen: list[Tensor] = []
    states: list[list[Tensor]] = []
    ended: Tensor | None = None
    for ids in tokens:
        if ended is not None:
            ids = ids.masked_fill(ended, eos)
        ended = ids == eos if ended is None else ended | (ids == eos)
        chosen.append(ids)
        if check_every > 1 or noise.per_row:
            states.append(noise.states())
        if len(chosen) % check_every == 0 and bool(ended.all()):
            break
    result = torch.stack(chosen, dim=1)
    # A row's own tokens, its end among them.
    counts = ((result != eos).sum(1) + 1).clamp(max=result.shape[1]).tolist()
    if noise.per_row:
        noise.rewind([states[count - 1][row] for row, count in enumerate(counts)])
    elif states:
        noise.rewind(states[max(counts) - 1])
    return result[:, : max(counts)]
