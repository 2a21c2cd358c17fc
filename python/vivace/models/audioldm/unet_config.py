"""UNet2DConditionConfig: the fields of diffusers' UNet2DConditionModel, with its defaults."""

from typing import Any, ClassVar

from vivace.models.audioldm.diffusers_config import DiffusersConfig

Names = list[str] | tuple[str, ...]
Ints = list[int] | tuple[int, ...]

# True: the block has attention.
DOWN_BLOCKS = {"DownBlock2D": False, "CrossAttnDownBlock2D": True}
UP_BLOCKS = {"UpBlock2D": False, "CrossAttnUpBlock2D": True}


class UNet2DConditionConfig(DiffusersConfig):
    """Fields of the UNet; `check` refuses what AudioLDM's family of models does not have.

    attention_head_dim is the number of heads, not their width: diffusers' name for it is wrong.
    Fields of the type Any have one implemented value, see `_fixed`.
    """

    _class_name = "UNet2DConditionModel"

    sample_size: int | Ints | None = None
    in_channels: int = 4
    out_channels: int = 4
    center_input_sample: Any = False
    flip_sin_to_cos: bool = True
    freq_shift: int | float = 0
    down_block_types: Names = (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D")
    mid_block_type: Any = "UNetMidBlock2DCrossAttn"
    up_block_types: Names = ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)
    only_cross_attention: Any = False
    block_out_channels: Ints = (320, 640, 1280, 1280)
    layers_per_block: int | Ints = 2
    downsample_padding: Any = 1
    mid_block_scale_factor: Any = 1
    dropout: Any = 0.0
    act_fn: Any = "silu"
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int | Ints = 1280
    transformer_layers_per_block: Any = 1
    reverse_transformer_layers_per_block: Any = None
    encoder_hid_dim: Any = None
    encoder_hid_dim_type: Any = None
    attention_head_dim: int | Ints = 8
    num_attention_heads: Any = None
    dual_cross_attention: Any = False
    use_linear_projection: Any = False
    class_embed_type: Any = None
    addition_embed_type: Any = None
    addition_time_embed_dim: Any = None
    num_class_embeds: Any = None
    upcast_attention: Any = False
    resnet_time_scale_shift: Any = "default"
    resnet_skip_time_act: Any = False
    resnet_out_scale_factor: Any = 1.0
    time_embedding_type: Any = "positional"
    time_embedding_dim: Any = None
    time_embedding_act_fn: Any = None
    timestep_post_act: Any = None
    time_cond_proj_dim: Any = None
    conv_in_kernel: Any = 3
    conv_out_kernel: Any = 3
    projection_class_embeddings_input_dim: int | None = None
    attention_type: Any = "default"
    class_embeddings_concat: bool = False
    mid_block_only_cross_attention: Any = None
    cross_attention_norm: Any = None
    addition_embed_type_num_heads: int = 64

    _fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "center_input_sample": (False,),
        "down_block_types": tuple(DOWN_BLOCKS),
        "mid_block_type": ("UNetMidBlock2DCrossAttn",),
        "up_block_types": tuple(UP_BLOCKS),
        "only_cross_attention": (False,),
        "downsample_padding": (1,),
        "mid_block_scale_factor": (1,),
        "dropout": (0.0,),
        "act_fn": ("silu", "swish"),
        "transformer_layers_per_block": (1,),
        "reverse_transformer_layers_per_block": (None,),
        "encoder_hid_dim": (None,),
        "encoder_hid_dim_type": (None,),
        "num_attention_heads": (None,),
        "dual_cross_attention": (False,),
        "use_linear_projection": (False,),
        "class_embed_type": ("simple_projection",),
        "addition_embed_type": (None,),
        "addition_time_embed_dim": (None,),
        "num_class_embeds": (None,),
        "upcast_attention": (False,),
        "resnet_time_scale_shift": ("default",),
        "resnet_skip_time_act": (False,),
        "resnet_out_scale_factor": (1.0,),
        "time_embedding_type": ("positional",),
        "time_embedding_dim": (None,),
        "time_embedding_act_fn": (None,),
        "timestep_post_act": (None,),
        "time_cond_proj_dim": (None,),
        "conv_in_kernel": (3,),
        "conv_out_kernel": (3,),
        "attention_type": ("default",),
        "mid_block_only_cross_attention": (None, False),
        "cross_attention_norm": (None,),
    }

    def check(self) -> None:
        """Raises ValueError for a value that is not implemented or does not fit the others."""
        super().check()
        levels = len(self.block_out_channels)
        for key in (
            "down_block_types",
            "up_block_types",
            "layers_per_block",
            "attention_head_dim",
            "cross_attention_dim",
            "only_cross_attention",
            "transformer_layers_per_block",
        ):
            value = getattr(self, key)
            if isinstance(value, (list, tuple)) and len(value) != levels:
                raise ValueError(
                    f"UNet2DConditionModel: {key} must have as many values as block_out_channels "
                    f"{list(self.block_out_channels)}, got {value!r}"
                )
        if self.projection_class_embeddings_input_dim is None:
            raise ValueError(
                "UNet2DConditionModel: class_embed_type 'simple_projection' needs "
                "projection_class_embeddings_input_dim, got None"
            )
        for width in self.block_out_channels:
            if width % self.norm_num_groups:
                raise ValueError(
                    "UNet2DConditionModel: block_out_channels must be multiples of "
                    f"norm_num_groups={self.norm_num_groups}, got {list(self.block_out_channels)}"
                )

    def per_level(self, key: str) -> list[int]:
        """The values of a field on each level, whether it holds one or a list."""
        value: Any = getattr(self, key)
        return list(value) if isinstance(value, (list, tuple)) else [value] * self.levels

    @property
    def levels(self) -> int:
        """The number of resolutions."""
        return len(self.block_out_channels)

    def original_heads(self) -> list[int]:
        """The heads of each level in the original AudioLDM: 32 channels each, 64 in the large one.

        Its configurations give the width of a head (`num_head_channels`); the conversion to
        diffusers dropped it, so that released checkpoints run with 8 heads everywhere. Raises
        ValueError if the channels of a level are no multiple of the width.
        """
        width = 64 if self.block_out_channels[0] >= 256 else 32
        for channels in self.block_out_channels:
            if channels % width:
                raise ValueError(
                    f"original_heads: block_out_channels must be multiples of {width}, got "
                    f"{list(self.block_out_channels)}"
                )
        return [channels // width for channels in self.block_out_channels]
