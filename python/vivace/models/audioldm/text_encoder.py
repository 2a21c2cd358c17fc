"""ClapTextModelWithProjection: CLAP's text encoder (Wu et al. 2022, arXiv:2211.06687), a RoBERTa.

The class, its arguments and its results are those of transformers' class of this name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vivace.models.audioldm.text_encoder_config import ClapTextConfig
from vivace.models.audioldm.text_encoder_layers import (
    ClapTextEmbeddings,
    ClapTextLayer,
    activation,
)
from vivace.models.base import PreTrainedModel
from vivace.models.outputs import ModelOutput

_COUNTERS = "text_model.embeddings."
_Encoded = tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]


@dataclass(repr=False)
class ClapTextModelOutput(ModelOutput):
    """text_embeds (B, projection_dim); last_hidden_state (B, T, C); and if asked for the hidden
    states behind the embeddings and every layer, and the attention weights (B, H, T, T) of each.
    """

    text_embeds: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class ClapTextEncoder(nn.Module):
    """The transformer layers."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(ClapTextLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, mask: Tensor | None, states: bool, attentions: bool) -> _Encoded:
        """x (B, T, C) -> the last state, and if asked for all states and attention weights."""
        seen, weights = [x], []
        for layer in self.layer:
            x, weight = layer(x, mask, attentions)
            if states:
                seen.append(x)
            weights.append(weight)
        return x, tuple(seen) if states else None, tuple(weights) if attentions else None


class ClapTextPooler(nn.Module):
    """tanh(dense(the first token)): (B, T, C) -> (B, C)."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x[:, 0]))


class ClapTextModel(nn.Module):
    """Embeddings, layers and pooler of a `ClapTextModelWithProjection`."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.embeddings = ClapTextEmbeddings(config)
        self.encoder = ClapTextEncoder(config)
        self.pooler = ClapTextPooler(config)


class ClapProjectionLayer(nn.Module):
    """linear2(activation(linear1(x))): (B, C) -> (B, projection_dim)."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.hidden_size, config.projection_dim)
        self.linear2 = nn.Linear(config.projection_dim, config.projection_dim)
        self.activation = activation(config.projection_hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear2(self.activation(self.linear1(x)))
        return y


class ClapTextModelWithProjection(PreTrainedModel):
    """Text -> one embedding in the space that CLAP's audio encoder shares.

    Loads the text half of a whole CLAP checkpoint too. Raises ValueError for an activation that
    does not exist or a hidden_size that num_attention_heads does not divide.
    """

    config_class = ClapTextConfig
    base_model_prefix = "clap"
    _computed_keys = r"text_model\.embeddings\.(position_ids|token_type_ids)"

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__(config)
        self.text_model = ClapTextModel(config)
        self.text_projection = ClapProjectionLayer(config)
        self._unloaded_prefixes = ("audio_model.", "audio_projection.", "logit_scale_")
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        config = self.config
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=config.initializer_factor * 0.02)
        elif isinstance(module, nn.Linear):
            depth = 2 * max(1, config.num_hidden_layers)
            std = (config.hidden_size * depth) ** -0.5 * config.initializer_factor
            nn.init.normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)

    def _as_saved(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """With the counters that transformers' class has as buffers."""
        places = torch.arange(self.config.max_position_embeddings)[None]
        counters = {"position_ids": places, "token_type_ids": torch.zeros_like(places)}
        return super()._as_saved(state) | {_COUNTERS + k: v for k, v in counters.items()}

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of the words."""
        return self.text_model.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Sets the embedding of the words."""
        self.text_model.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ClapTextModelOutput | tuple[Tensor, ...]:
        """Ids (B, T) of a tokenizer, or embeddings (B, T, C) of words -> text_embeds and more.

        attention_mask (B, T): 0 for padding, which is as if it were not there: texts cut to their
        true length have the same text_embeds. position_ids (B, T): by default counted over what is
        no padding. Raises ValueError for both or neither of ids and embeddings, wrong shapes, and
        texts longer than the model has positions for.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError(
                "ClapTextModelWithProjection: needs one of input_ids and inputs_embeds, "
                f"got {'neither' if input_ids is None else 'both'}"
            )
        given = input_ids if input_ids is not None else inputs_embeds
        assert given is not None
        if given.ndim != (3 if input_ids is None else 2) or 0 in given.shape[1:]:
            raise ValueError(
                "ClapTextModelWithProjection: input_ids must have shape (B, T) and inputs_embeds "
                f"(B, T, {self.config.hidden_size}), got {tuple(given.shape)}"
            )
        self._check_positions(given, position_ids)
        h = self.text_model.embeddings(input_ids, position_ids, token_type_ids, inputs_embeds)
        config = self.config
        states = (
            config.output_hidden_states if output_hidden_states is None else output_hidden_states
        )
        weights = config.output_attentions if output_attentions is None else output_attentions
        mask = _additive_mask(attention_mask, h)
        h, hidden_states, attentions = self.text_model.encoder(h, mask, states, weights)
        embeds = self.text_projection(self.text_model.pooler(h))
        output = ClapTextModelOutput(embeds, h, hidden_states, attentions)
        wants_dict = config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()

    def _check_positions(self, given: Tensor, position_ids: Tensor | None) -> None:
        """Looks at the positions themselves only where the shape leaves a doubt."""
        start = (self.config.pad_token_id or 0) + 1
        limit = self.config.max_position_embeddings - start
        if position_ids is not None or given.shape[1] <= limit:
            return
        length = given.shape[1]
        if given.ndim == 2:
            length = int((given != start - 1).sum(1).max()) if len(given) else 0
        if length > limit:
            raise ValueError(
                f"ClapTextModelWithProjection: a text must have at most {limit} tokens, "
                f"got {length}"
            )


def _additive_mask(attention_mask: Tensor | None, h: Tensor) -> Tensor | None:
    """What is added to the scores for h (B, T, C): (B, 1, 1, T); None if every key is seen.

    The lowest finite value hides a key; a text without any key attends to all of them alike.
    """
    if attention_mask is None:
        return None
    if attention_mask.shape != h.shape[:2]:
        raise ValueError(
            "ClapTextModelWithProjection: attention_mask must have shape "
            f"{tuple(h.shape[:2])}, got {tuple(attention_mask.shape)}"
        )
    hidden = attention_mask == 0
    if not bool(hidden.any()):
        return None
    zeros = torch.zeros(hidden.shape, dtype=h.dtype, device=h.device)
    return zeros.masked_fill(hidden, torch.finfo(h.dtype).min)[:, None, None]
