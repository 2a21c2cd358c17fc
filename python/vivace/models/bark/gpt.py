"""BarkCausalModel: the autoregressive transformer of Bark's semantic and coarse stages."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vivace.generation.graph import Graphs
from vivace.models.bark.config import BarkConfig, BarkSubModelConfig
from vivace.models.bark.layers import BarkBlock, additive_mask
from vivace.models.bark.outputs import CausalLMOutputWithPast
from vivace.models.base import PreTrainedConfig, PreTrainedModel
from vivace.nn.kv_cache import KVCache
from vivace.nn.quantize import round_to_int8_
from vivace.nn.resize import resized_embedding
from vivace.ops.gpt_decode_step import ABSENT, DecodeWeights, gpt_decode_step


class BarkPreTrainedModel(PreTrainedModel):
    """What Bark's models share: initialisation, and keys of checkpoints that are computed here."""

    config_class: ClassVar[type[PreTrainedConfig]] = BarkConfig
    # transformers saves its causal mask in every layer.
    _computed_keys: ClassVar[str] = r"(.*\.)?attn\.bias"

    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std)


class BarkCausalModel(BarkPreTrainedModel):
    """A causal GPT-2 with learned positions and a head of its own (not tied to the embeddings)."""

    config_class = BarkSubModelConfig

    def __init__(self, config: BarkSubModelConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.input_embeds_layer = nn.Embedding(config.input_vocab_size, width)
        self.position_embeds_layer = nn.Embedding(config.block_size, width)
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            BarkBlock(config, is_causal=True, layer_idx=i) for i in range(config.num_layers)
        )
        self.layernorm_final = nn.LayerNorm(width, bias=config.bias)
        self.lm_head = nn.Linear(width, config.output_vocab_size, bias=False)
        self.int8 = False
        self.graphs = Graphs(self)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embedding."""
        return self.input_embeds_layer

    def set_input_embeddings(self, new_embeddings: nn.Embedding) -> None:
        """Replaces the token embedding."""
        self.input_embeds_layer = new_embeddings

    def get_output_embeddings(self) -> None:
        """None: the head must never be tied to the embeddings."""

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """The token embedding with `new_num_tokens` rows, of which new ones are the mean of the
        old, or random; without a number the one that is there. The head stays as it is."""
        if new_num_tokens is None and pad_to_multiple_of is None:
            return self.input_embeds_layer
        rows = self.config.input_vocab_size if new_num_tokens is None else new_num_tokens
        std = self.config.initializer_range
        self.input_embeds_layer = resized_embedding(
            self.input_embeds_layer, rows, pad_to_multiple_of, mean_resizing, std
        )
        self.config.input_vocab_size = self.input_embeds_layer.num_embeddings
        return self.input_embeds_layer

    def blocks(self) -> list[BarkBlock]:
        """The layers in their order."""
        return [block for block in self.layers if isinstance(block, BarkBlock)]

    def quantize(self) -> None:
        """Rounds the matrices that a token reads to 8 bits per value and one scale per row.

        The parameters keep their dtype: a decode kernel stores them in 8 bits, everything else
        computes with the rounded values. Cannot be undone but by loading again.
        """
        for block in self.blocks():
            for linear in (
                block.attn.att_proj,
                block.attn.out_proj,
                block.mlp.in_proj,
                block.mlp.out_proj,
            ):
                round_to_int8_(linear.weight)
        round_to_int8_(self.lm_head.weight)
        self.int8 = True

    def new_cache(self, batch: int) -> KVCache:
        """An empty cache for `batch` rows of block_size tokens."""
        config = self.config
        return KVCache(
            config.num_layers,
            batch,
            config.num_heads,
            config.block_size,
            config.hidden_size // config.num_heads,
            self.dtype,
            self.device,
        )

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: KVCache | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits (B, T, V) of every position of input_ids (B, T) or inputs_embeds (B, T, C).

        past_key_values: a `KVCache` (of an earlier output), which is appended to. attention_mask
        (B, past + T): zeros are not attended to. Positions count from the cache's length. Raises
        ValueError for both or neither input, or more positions than block_size,
        NotImplementedError for `labels`.
        """
        config = self.config
        if labels is not None:
            raise NotImplementedError(
                "BarkCausalModel: training is not implemented, pass no labels"
            )
        x = self._embedded(input_ids, inputs_embeds)
        use_cache = config.use_cache if use_cache is None else use_cache
        cache = past_key_values
        if use_cache and cache is None:
            cache = self.new_cache(x.shape[0])
        past = 0 if cache is None else cache.longest
        time = x.shape[1]
        if position_ids is None:
            if past + time > config.block_size:
                raise ValueError(
                    f"BarkCausalModel: {past + time} tokens exceed block_size={config.block_size}"
                )
            position_ids = torch.arange(past, past + time, device=x.device)[None]
        x = self.drop(x + self.position_embeds_layer(position_ids))
        attentions = config.output_attentions if output_attentions is None else output_attentions
        hidden = config.output_hidden_states
        hidden = hidden if output_hidden_states is None else output_hidden_states
        mask = additive_mask(attention_mask, x.dtype)
        states: list[Tensor] = []
        weights: list[Any] = []
        for block in self.blocks():
            states.append(x)
            x, seen = block(x, cache, mask, bool(attentions))
            weights.append(seen)
        if cache is not None:
            cache.advance(time)
        x = self.layernorm_final(x)
        output = CausalLMOutputWithPast(
            logits=self.lm_head(x),
            past_key_values=cache,
            hidden_states=(*states, x) if hidden else None,
            attentions=tuple(weights) if attentions else None,
        )
        return_dict = config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def prefill(
        self, inputs_embeds: Tensor, cache: KVCache, lengths: list[int], first: int, rows: int
    ) -> Tensor:
        """Fills the cache from inputs_embeds (B, T, C), to which positions are added.

        Row b has lengths[b] tokens. -> logits (B, rows) float32 after each row's last token, of the
        head's rows from `first` on."""
        time = inputs_embeds.shape[1]
        x = inputs_embeds + self.position_embeds_layer.weight[:time]
        cache.lengths.zero_()
        cache.longest = 0
        for block in self.blocks():
            x, _ = block(x, cache)
        cache.set_lengths(lengths)
        last = x[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        head = self.lm_head.weight[first : first + rows]
        return nn.functional.linear(self.layernorm_final(last), head).float()

    def decode(
        self,
        weights: DecodeWeights,
        ids: Tensor,
        cache: KVCache,
        first: int,
        rows: int,
        longest: int,
    ) -> Tensor:
        """One token per row, ids (B,), behind the cache's -> logits (B, rows) float32.

        Counts the token in cache.lengths; `cache.longest`, which `longest` bounds, is the caller's.
        """
        x = self.input_embeds_layer.weight[ids] + self.position_embeds_layer.weight[cache.lengths]
        logits: Tensor = gpt_decode_step(
            x, weights, cache.keys, cache.values, cache.lengths, longest, first, rows, self.int8
        )
        cache.lengths += 1
        return logits

    def decode_weights(self) -> DecodeWeights:
        """The weights in the order of `gpt_decode_step`, for one generation."""
        ordered: list[nn.Module] = []
        for block in self.blocks():
            ordered += [block.layernorm_1, block.attn.att_proj, block.attn.out_proj]
            ordered += [block.layernorm_2, block.mlp.in_proj, block.mlp.out_proj]
        ordered.append(self.layernorm_final)
        weights: list[Tensor] = []
        for module in ordered:
            bias: Any = module.bias
            weights += [module.weight, ABSENT if bias is None else bias]  # type: ignore[list-item]
        return DecodeWeights([*weights, self.lm_head.weight])

    def _embedded(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if (input_ids is None) == (inputs_embeds is None):
            given = "both" if input_ids is not None else "neither"
            raise ValueError(
                f"BarkCausalModel: pass either input_ids or inputs_embeds, got {given}"
            )
        if input_ids is None:
            assert inputs_embeds is not None
            return inputs_embeds
        return self.input_embeds_layer(input_ids)  # type: ignore[no-any-return]
