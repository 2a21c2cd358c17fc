"""AutoencoderKLConfig: the fields of diffusers' AutoencoderKL, with its defaults."""

from typing import Any, ClassVar

from vivace.models.audioldm.diffusers_config import DiffusersConfig
from vivace.models.audioldm.unet_config import Ints, Names


class AutoencoderKLConfig(DiffusersConfig):
    """Fields of the VAE. Those of the type Any have one implemented value, see `_fixed`.

    scaling_factor: latents are multiplied by it before the UNet sees them; it belongs to the
    checkpoint. sample_size and force_upcast have no effect here.
    """

    _class_name = "AutoencoderKL"

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: Names = ("DownEncoderBlock2D",)
    up_block_types: Names = ("UpDecoderBlock2D",)
    block_out_channels: Ints = (64,)
    layers_per_block: int = 1
    act_fn: Any = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int | Ints | None = 32
    scaling_factor: float | int = 0.18215
    shift_factor: Any = None
    latents_mean: Any = None
    latents_std: Any = None
    force_upcast: bool = True
    use_quant_conv: Any = True
    use_post_quant_conv: Any = True
    mid_block_add_attention: Any = True

    _fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "down_block_types": ("DownEncoderBlock2D",),
        "up_block_types": ("UpDecoderBlock2D",),
        "act_fn": ("silu", "swish"),
        "shift_factor": (None,),
        "latents_mean": (None,),
        "latents_std": (None,),
        "use_quant_conv": (True,),
        "use_post_quant_conv": (True,),
        "mid_block_add_attention": (True,),
    }

    def check(self) -> None:
        """Raises ValueError for a value that is not implemented or does not fit the others."""
        super().check()
        for key in ("down_block_types", "up_block_types"):
            if len(getattr(self, key)) != len(self.block_out_channels):
                raise ValueError(
                    f"AutoencoderKL: {key} must have as many values as block_out_channels "
                    f"{list(self.block_out_channels)}, got {getattr(self, key)!r}"
                )
