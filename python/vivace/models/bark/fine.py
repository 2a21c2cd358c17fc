"""BarkFineModel: the first two codebooks to all eight, window by window, not causal.

A window is 1024 frames; each codebook is predicted for all of them at once from the ones before it.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.bark.config import BarkFineConfig
from vivace.models.bark.fine_plan import FinePlan, FineRow
from vivace.models.bark.generation_config import (
    BarkCoarseGenerationConfig,
    BarkFineGenerationConfig,
    BarkSemanticGenerationConfig,
)
from vivace.models.bark.gpt import BarkPreTrainedModel
from vivace.models.bark.history import Histories
from vivace.models.bark.layers import BarkBlock, additive_mask
from vivace.models.bark.outputs import MaskedLMOutput
from vivace.models.bark.sampling import Noise, check_fixed
from vivace.nn.resize import resized_embedding
from vivace.ops.sample import sample

# Other stages' settings, which transformers ignores here: the temperature alone decides.
_IGNORED = ("do_sample", "top_k", "top_p", "min_p")


class BarkFineModel(BarkPreTrainedModel):
    """One embedding per codebook, one head per codebook but the given; heads share embeddings."""

    config_class = BarkFineConfig
    base_model_prefix = "fine_acoustics"
    main_input_name = "codebook_idx"

    def __init__(self, config: BarkFineConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.n_codes_total = config.n_codes_total
        self.input_embeds_layers = nn.ModuleList(
            nn.Embedding(config.input_vocab_size, width) for _ in range(config.n_codes_total)
        )
        self.position_embeds_layer = nn.Embedding(config.block_size, width)
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            BarkBlock(config, is_causal=False, layer_idx=i) for i in range(config.num_layers)
        )
        self.layernorm_final = nn.LayerNorm(width)
        self.lm_heads = nn.ModuleList(
            nn.Linear(width, config.output_vocab_size, bias=False)
            for _ in range(config.n_codes_given, config.n_codes_total)
        )
        self.post_init()
        self.tie_weights()

    def tie_weights(self) -> None:
        """Makes head i the embedding of codebook i + 1, unless the configuration says otherwise."""
        for head, source in self._tied_keys().items():
            index = int(head.split(".")[1])
            self.lm_heads[index].weight = self.get_parameter(source)

    def _tied_keys(self) -> dict[str, str]:
        if not self.config.tie_word_embeddings:
            return {}
        return {
            f"lm_heads.{i}.weight": f"input_embeds_layers.{i + 1}.weight"
            for i in range(len(self.lm_heads))
        }

    def get_input_embeddings(self) -> nn.ModuleList:
        """The embeddings, one per codebook."""
        return self.input_embeds_layers

    def set_input_embeddings(self, new_embeddings: nn.ModuleList) -> None:
        """Replaces the embeddings."""
        self.input_embeds_layers = new_embeddings

    def get_output_embeddings(self) -> nn.ModuleList:
        """The heads, one per predicted codebook."""
        return self.lm_heads

    def set_output_embeddings(self, new_output_embeddings: nn.ModuleList) -> None:
        """Replaces the heads."""
        self.lm_heads = new_output_embeddings

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.ModuleList:
        """All embeddings, and the heads that share their memory, with `new_num_tokens` rows; see
        `BarkCausalModel`. Heads of their own (tie_word_embeddings=False) stay as they are."""
        if new_num_tokens is None and pad_to_multiple_of is None:
            return self.input_embeds_layers
        config = self.config
        rows = config.input_vocab_size if new_num_tokens is None else new_num_tokens
        std = config.initializer_range
        resized = [
            resized_embedding(old, rows, pad_to_multiple_of, mean_resizing, std)
            for old in self.input_embeds_layers
            if isinstance(old, nn.Embedding)
        ]
        self.input_embeds_layers = nn.ModuleList(resized)
        self.tie_weights()
        config.input_vocab_size = config.output_vocab_size = resized[0].num_embeddings
        return self.input_embeds_layers

    def forward(
        self,
        codebook_idx: int,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits (B, T, V) of codebook `codebook_idx` >= 1 from input_ids (B, T, 8).

        The input is the sum of the embeddings of codebooks 0 to codebook_idx, that one included.
        Raises ValueError for codebook 0, both or neither input or more than block_size frames,
        NotImplementedError for `labels`.
        """
        config = self.config
        if labels is not None:
            raise NotImplementedError("BarkFineModel: training is not implemented, pass no labels")
        if codebook_idx == 0:
            raise ValueError(
                "Cannot predict 0th codebook - 0th codebook should be predicted by the coarse model"
            )
        if (input_ids is None) == (inputs_embeds is None):
            given = "both" if input_ids is not None else "neither"
            raise ValueError(f"BarkFineModel: pass either input_ids or inputs_embeds, got {given}")
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self._embedded(codebook_idx, input_ids)
        time = inputs_embeds.shape[1]
        if position_ids is None:
            if time > config.block_size:
                raise ValueError(
                    f"BarkFineModel: {time} frames exceed block_size={config.block_size}"
                )
            position_ids = torch.arange(time, device=inputs_embeds.device)[None]
        x = self.drop(inputs_embeds + self.position_embeds_layer(position_ids))
        attentions = config.output_attentions if output_attentions is None else output_attentions
        hidden = config.output_hidden_states
        hidden = hidden if output_hidden_states is None else output_hidden_states
        mask = additive_mask(attention_mask, x.dtype)
        states: list[Tensor] = []
        weights: list[Any] = []
        for block in self.layers:
            states.append(x)
            x, seen = block(x, None, mask, bool(attentions))
            weights.append(seen)
        x = self.layernorm_final(x)
        output = MaskedLMOutput(
            logits=self.lm_heads[codebook_idx - config.n_codes_given](x),
            hidden_states=(*states, x) if hidden else None,
            attentions=tuple(weights) if attentions else None,
        )
        return_dict = config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def generate(
        self,
        coarse_output: Tensor,
        semantic_generation_config: BarkSemanticGenerationConfig | None = None,
        coarse_generation_config: BarkCoarseGenerationConfig | None = None,
        fine_generation_config: BarkFineGenerationConfig | None = None,
        codebook_size: int = 1024,
        history_prompt: Histories = None,
        output_lengths: list[int] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """coarse_output (B, 2·T) of the coarse model -> codes (B, 8, T) int64.

        output_lengths: the frames of each row (default: T); a row gets the codes that it would get
        alone, and 0 behind its end. Keywords: temperature (None and 1.0 are greedy, as in
        transformers), generator, progress. Raises ValueError for bad tokens or settings.
        """
        plan, noise, temperature, progress = self._prepare(
            semantic_generation_config,
            coarse_generation_config,
            fine_generation_config,
            codebook_size,
            coarse_output.shape[0],
            kwargs,
        )
        codes = plan.codes(coarse_output.to(self.device))
        frames = [codes.shape[1]] * len(codes) if output_lengths is None else output_lengths
        rows = plan.rows(codes, frames, history_prompt)
        result = codes.new_zeros((len(rows), plan.books, codes.shape[1]))
        groups = plan.groups(rows)
        total = sum(plan.windows(rows[group[0]]) for group in groups) * plan.predicted
        done = 0
        for group in groups:
            for _ in self.fill([rows[i] for i in group], plan, noise.select(group), temperature):
                done += 1
                if progress is not None:
                    progress(done, total)
            for i in group:
                result[i, :, : frames[i]] = rows[i].result()
        return result

    def _prepare(
        self,
        semantic: BarkSemanticGenerationConfig | None,
        coarse: BarkCoarseGenerationConfig | None,
        fine: BarkFineGenerationConfig | None,
        codebook_size: int,
        batch: int,
        kwargs: dict[str, Any],
    ) -> tuple[FinePlan, Noise, float | None, Any]:
        """What a call is made of: the temperature is None where it is greedy."""
        for name, value in (("semantic", semantic), ("coarse", coarse), ("fine", fine)):
            if value is None:
                raise ValueError(f"`{name}_generation_config` has to be provided")
        assert semantic is not None
        assert coarse is not None
        assert fine is not None
        check_fixed("fine", kwargs, ("temperature", "generator", "progress", *_IGNORED))
        temperature = kwargs.get("temperature", fine.temperature)
        if temperature is not None and not temperature > 0.0:
            raise ValueError(f"fine: temperature must be > 0 or None, got {temperature}")
        noise = Noise(kwargs.get("generator"), batch, self.device)
        plan = FinePlan(semantic, coarse, fine, codebook_size)
        return plan, noise, None if temperature == 1.0 else temperature, kwargs.get("progress")

    def fill(
        self, rows: list[FineRow], plan: FinePlan, noise: Noise, temperature: float | None
    ) -> Iterator[int]:
        """Predicts the missing codebooks of rows of one shape; yields after each codebook of each
        window the number of windows that are complete."""
        for window in range(plan.windows(rows[0])):
            start, fill = plan.window(rows[0], window)
            buffer = torch.stack([row.codes[start : start + plan.length] for row in rows])
            for book in range(plan.given, plan.books):
                x = self._embedded(book, buffer)
                hidden = self._hidden(x)[:, fill - start :]
                head = self.lm_heads[book - self.config.n_codes_given].weight[: plan.codebook_size]
                logits = F.linear(hidden, head).float().flatten(0, 1)
                if temperature is None:
                    ids = sample(logits)
                else:
                    drawn = noise.draw(plan.codebook_size, repeat=hidden.shape[1])
                    ids = sample(logits, drawn, temperature)
                buffer[:, fill - start :, book] = ids.view(len(rows), -1)
                for row, filled in zip(rows, buffer, strict=True):
                    row.codes[fill : start + plan.length, book] = filled[fill - start :, book]
                yield window + (book == plan.books - 1)

    def _hidden(self, x: Tensor) -> Tensor:
        """The normalised last states (B, T, C) of embeddings (B, T, C)."""
        x = x + self.position_embeds_layer.weight[: x.shape[1]]
        for block in self.layers:
            x, _ = block(x)
        return self.layernorm_final(x)  # type: ignore[no-any-return]

    def _embedded(self, codebook_idx: int, ids: Tensor) -> Tensor:
        """The sum over codebooks 0 to codebook_idx of the embeddings of ids (B, T, 8)."""
        x: Tensor = self.input_embeds_layers[0](ids[..., 0])
        for book in range(1, codebook_idx + 1):
            x = x + self.input_embeds_layers[book](ids[..., book])
        return x
