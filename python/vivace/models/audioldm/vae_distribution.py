"""DiagonalGaussianDistribution: what the VAE's encoder says about the latents."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_ALL = (1, 2, 3)


class DiagonalGaussianDistribution:
    """Independent normal distributions, mean and log variance (B, C, H, W).

    parameters (B, 2·C, H, W): the means, then the log variances, which are clamped to (-30, 20).
    deterministic: the variance is zero.
    """

    def __init__(self, parameters: Tensor, deterministic: bool = False) -> None:
        self.parameters = parameters
        self.mean, logvar = parameters.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)
        self.deterministic = deterministic
        self.std = torch.exp(0.5 * self.logvar)
        self.var = torch.exp(self.logvar)
        if deterministic:
            self.var = self.std = torch.zeros_like(self.mean)

    def sample(
        self, generator: torch.Generator | Sequence[torch.Generator] | None = None
    ) -> Tensor:
        """A draw (B, C, H, W).

        A generator of the CPU may serve a distribution elsewhere; a list has one for each row.
        Raises ValueError for a list of another length.
        """
        return self.mean + self.std * self._noise(generator)

    def mode(self) -> Tensor:
        """The most likely value, which is the mean."""
        return self.mean

    def kl(self, other: "DiagonalGaussianDistribution | None" = None) -> Tensor:
        """Kullback-Leibler divergence from `other`, by default the standard normal: (B,)."""
        if self.deterministic:
            return torch.zeros(1)
        if other is None:
            terms = self.mean.square() + self.var - 1.0 - self.logvar
        else:
            ratio = ((self.mean - other.mean).square() + self.var) / other.var
            terms = ratio - 1.0 - self.logvar + other.logvar
        return 0.5 * terms.sum(dim=_ALL)

    def nll(self, sample: Tensor, dims: Sequence[int] = _ALL) -> Tensor:
        """Negative log likelihood of a sample (B, C, H, W), summed over `dims`."""
        if self.deterministic:
            return torch.zeros(1)
        terms = math.log(2.0 * math.pi) + self.logvar + (sample - self.mean).square() / self.var
        return 0.5 * terms.sum(dim=tuple(dims))

    def _noise(self, generator: torch.Generator | Sequence[torch.Generator] | None) -> Tensor:
        shape, dtype, device = self.mean.shape, self.parameters.dtype, self.parameters.device
        if generator is None or isinstance(generator, torch.Generator):
            drawn_on = device if generator is None else generator.device
            noise = torch.randn(shape, generator=generator, dtype=dtype, device=drawn_on)
            return noise.to(device)
        if len(generator) != shape[0]:
            raise ValueError(
                "DiagonalGaussianDistribution.sample: a list of generators must have one for each "
                f"of the {shape[0]} rows, got {len(generator)}"
            )
        rows = [
            torch.randn(shape[1:], generator=one, dtype=dtype, device=one.device).to(device)
            for one in generator
        ]
        return torch.stack(rows)
