"""DAC models of the released sizes with seeded random weights that behave like trained ones."""

import math

import torch
from torch import nn

from vivace import DacConfig, DacModel

CONFIGS = {
    "dac_16khz": {"downsampling_ratios": (2, 4, 5, 8), "n_codebooks": 12, "sampling_rate": 16000},
    "dac_44khz": {"downsampling_ratios": (2, 4, 8, 8), "n_codebooks": 9, "sampling_rate": 44100},
}


def config_of(name: str) -> DacConfig:
    return DacConfig(**CONFIGS[name])


@torch.no_grad()
def random_model(config: DacConfig, seed: int = 0) -> DacModel:
    """In eval mode. Every parameter is random, Snake's α too (a new model has α = 1 throughout);
    gains keep activations near 1, so that tanh does not saturate and all codes are in use.
    """
    model = DacModel(config)
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            fan_in = module.in_channels * module.kernel_size[0]
            if isinstance(module, nn.ConvTranspose1d):
                fan_in //= module.stride[0]
            # The second convolution of a residual unit adds to the stream: little, six times over.
            gain = 0.3 if ".res_unit" in name and name.endswith("conv2") else 0.7
            module.weight.normal_(0, gain / math.sqrt(fan_in), generator=generator)
            assert module.bias is not None
            module.bias.normal_(0, 0.02, generator=generator)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith("alpha"):
            parameter.uniform_(math.log(0.3), math.log(3), generator=generator).exp_()
    return model.eval()
