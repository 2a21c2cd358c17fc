"""The configurations of Bark's four parts and of the whole, by the keys of config.json."""

from typing import Any, ClassVar

from vivace.models.configuration import PreTrainedConfig
from vivace.models.encodec.config import EncodecConfig


class BarkSubModelConfig(PreTrainedConfig):
    """Configuration of a GPT-2 like transformer; the defaults are those of transformers 5.23.

    block_size: the most positions. bias: of all linear layers, and of the layer norms of the causal
    models; suno's checkpoints have none. Raises StrictDataclassFieldValidationError for a wrong
    type.
    """

    attribute_map: ClassVar[dict[str, str]] = {
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "vocab_size": "input_vocab_size",
        "window_size": "block_size",
    }

    block_size: int = 1024
    input_vocab_size: int = 10_048
    output_vocab_size: int = 10_048
    num_layers: int = 12
    num_heads: int = 12
    hidden_size: int = 768
    dropout: float | int = 0.0
    bias: bool = True
    initializer_range: float = 0.02
    use_cache: bool = True


class BarkSemanticConfig(BarkSubModelConfig):
    """Of `BarkSemanticModel`: text ids to semantic tokens."""

    model_type: ClassVar[str] = "semantic"
    base_config_key: ClassVar[str] = "semantic_config"


class BarkCoarseConfig(BarkSubModelConfig):
    """Of `BarkCoarseModel`: semantic tokens to the first two codebooks."""

    model_type: ClassVar[str] = "coarse_acoustics"
    base_config_key: ClassVar[str] = "coarse_acoustics_config"


class BarkFineConfig(BarkSubModelConfig):
    """Of `BarkFineModel`: `n_codes_given` codebooks to `n_codes_total`."""

    model_type: ClassVar[str] = "fine_acoustics"
    base_config_key: ClassVar[str] = "fine_acoustics_config"

    tie_word_embeddings: bool = True
    n_codes_total: int = 8
    n_codes_given: int = 1


class BarkConfig(PreTrainedConfig):
    """Of `BarkModel`: the configurations of its parts, each an object, a dict or None (default)."""

    model_type: ClassVar[str] = "bark"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {
        "semantic_config": BarkSemanticConfig,
        "coarse_acoustics_config": BarkCoarseConfig,
        "fine_acoustics_config": BarkFineConfig,
        "codec_config": EncodecConfig,
    }

    semantic_config: Any = None
    coarse_acoustics_config: Any = None
    fine_acoustics_config: Any = None
    codec_config: Any = None
    initializer_range: float = 0.02
