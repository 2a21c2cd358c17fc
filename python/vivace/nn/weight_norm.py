"""Weight norm for training: w = g · v / ‖v‖ (Salimans & Kingma 2016, arXiv:1602.07868)."""

from torch import nn
from torch.nn.utils import parametrizations, parametrize

from vivace.nn.geometry import convolutions


class WeightNormed(nn.Module):
    """A model whose convolutions may be trained with weight norm, under transformers' names."""

    def apply_weight_norm(self) -> None:
        """Reparametrises every convolution as g · v / ‖v‖ for training.

        Raises ValueError if one is reparametrised already: a second time would break the model.
        """
        modules = list(convolutions(self))
        for module in modules:
            if parametrize.is_parametrized(module, "weight"):
                raise ValueError(f"apply_weight_norm: 'weight' is parametrised already in {module}")
        for module in modules:
            parametrizations.weight_norm(module)

    def remove_weight_norm(self) -> None:
        """Folds `apply_weight_norm` back; ValueError where a convolution has no weight norm."""
        modules = list(convolutions(self))
        for module in modules:
            if not parametrize.is_parametrized(module, "weight"):
                raise ValueError(f"weight_norm of 'weight' not found in {module}")
        for module in modules:
            parametrize.remove_parametrizations(module, "weight")
