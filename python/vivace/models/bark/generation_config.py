"""The settings of Bark's generation: one configuration per stage, and the whole.

Names and defaults are those of transformers 5.23. With `do_sample` a top_k of None means 50, as
transformers' own default has it.
"""

from typing import Any, ClassVar

from vivace.models.generation_config import GenerationConfig

_SAMPLING = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": None,
    "top_p": None,
    "min_p": None,
    "renormalize_logits": True,
    "output_scores": False,
    "return_dict_in_generate": False,
    "output_hidden_states": False,
    "output_attentions": False,
}


class BarkSemanticGenerationConfig(GenerationConfig):
    """Of the semantic stage. `semantic_rate_hz` is tokens per second; `min_eos_p` ends a text whose
    end is at least this probable (None: off; suno's own code uses 0.2)."""

    model_type: ClassVar[str] = "semantic"
    defaults: ClassVar[dict[str, Any]] = {
        **_SAMPLING,
        "eos_token_id": 10_000,
        "max_new_tokens": 768,
        "text_encoding_offset": 10_048,
        "text_pad_token": 129_595,
        "semantic_infer_token": 129_599,
        "semantic_vocab_size": 10_000,
        "max_input_semantic_length": 256,
        "semantic_rate_hz": 49.9,
        "min_eos_p": None,
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.semantic_pad_token: int = self.__dict__["eos_token_id"]


class BarkCoarseGenerationConfig(GenerationConfig):
    """Of the coarse stage: `sliding_window_len` tokens per window, after `max_coarse_history` ones;
    `coarse_rate_hz` is frames per second."""

    model_type: ClassVar[str] = "coarse_acoustics"
    defaults: ClassVar[dict[str, Any]] = {
        **_SAMPLING,
        "coarse_semantic_pad_token": 12_048,
        "coarse_rate_hz": 75,
        "n_coarse_codebooks": 2,
        "coarse_infer_token": 12_050,
        "max_coarse_input_length": 256,
        "max_coarse_history": 630,
        "sliding_window_len": 60,
    }


class BarkFineGenerationConfig(GenerationConfig):
    """Of the fine stage. A temperature of None or 1.0 is greedy, as in transformers; frames."""

    model_type: ClassVar[str] = "fine_acoustics"
    defaults: ClassVar[dict[str, Any]] = {
        "temperature": 1.0,
        "max_fine_history_length": 512,
        "max_fine_input_length": 1024,
        "n_fine_codebooks": 8,
    }


_STAGES: dict[str, type[GenerationConfig]] = {
    "semantic_config": BarkSemanticGenerationConfig,
    "coarse_acoustics_config": BarkCoarseGenerationConfig,
    "fine_acoustics_config": BarkFineGenerationConfig,
}


class BarkGenerationConfig(GenerationConfig):
    """Of `BarkModel`: the three stages (each an object, a dict or None), the sample rate in Hz and
    the size of a codebook."""

    model_type: ClassVar[str] = "bark"
    defaults: ClassVar[dict[str, Any]] = {
        "semantic_config": None,
        "coarse_acoustics_config": None,
        "fine_acoustics_config": None,
        "sample_rate": 24_000,
        "codebook_size": 1024,
    }
    semantic_config: BarkSemanticGenerationConfig
    coarse_acoustics_config: BarkCoarseGenerationConfig
    fine_acoustics_config: BarkFineGenerationConfig
    sample_rate: int
    codebook_size: int

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, kind in _STAGES.items():
            setattr(self, name, kind(**{**(self.__dict__[name] or {})}))

    @classmethod
    def from_sub_model_configs(
        cls,
        semantic_config: BarkSemanticGenerationConfig,
        coarse_acoustics_config: BarkCoarseGenerationConfig,
        fine_acoustics_config: BarkFineGenerationConfig,
        **kwargs: Any,
    ) -> "BarkGenerationConfig":
        """The configuration of these stages (copied), with `sample_rate` and `codebook_size`."""
        return cls(
            semantic_config=semantic_config.to_dict(),
            coarse_acoustics_config=coarse_acoustics_config.to_dict(),
            fine_acoustics_config=fine_acoustics_config.to_dict(),
            **kwargs,
        )

    @classmethod
    def of(cls, config: Any) -> "BarkGenerationConfig":
        """Any object with these settings, such as transformers' configuration, as this class."""
        if isinstance(config, cls) and isinstance(config.semantic_config, GenerationConfig):
            return config
        settings = config.to_dict() if hasattr(config, "to_dict") else dict(config)
        return cls(**{key: settings[key] for key in cls.defaults if key in settings})
