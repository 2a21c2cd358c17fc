"""ClapTextConfig: the hyper-parameters of CLAP's text encoder, by the keys of transformers."""

from typing import ClassVar

from vivace.models.configuration import PreTrainedConfig


class ClapTextConfig(PreTrainedConfig):
    """Configuration of `ClapTextModelWithProjection`; the defaults are those of transformers 5.23
    (RoBERTa-base). Read from the config.json of a whole CLAP model too.

    Raises StrictDataclassFieldValidationError for a wrong type.
    """

    model_type: ClassVar[str] = "clap_text_model"
    base_config_key: ClassVar[str] = "text_config"

    vocab_size: int = 50_265
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    initializer_factor: float = 1.0
    layer_norm_eps: float = 1e-12
    projection_dim: int = 512
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    projection_hidden_act: str = "relu"
