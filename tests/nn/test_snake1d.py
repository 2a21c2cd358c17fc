"""Snake1d: transformers' module with the op of this package inside."""

import torch
from transformers.models.dac.modeling_dac import Snake1d as TransformersSnake1d

from vivace.nn import Snake1d


def test_equals_transformers_in_value_and_gradient() -> None:
    ours, theirs = Snake1d(5).double(), TransformersSnake1d(5).double()
    with torch.no_grad():
        ours.alpha.copy_(torch.randn(1, 5, 1))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 33, dtype=torch.float64, requires_grad=True)
    for module in (ours, theirs):
        module(x).square().sum().backward()
    gradient, x.grad = x.grad, None
    assert torch.equal(ours(x), theirs(x))
    torch.testing.assert_close(ours.alpha.grad, theirs.alpha.grad, rtol=1e-12, atol=1e-12)
    theirs(x).square().sum().backward()
    torch.testing.assert_close(gradient, 2 * x.grad, rtol=1e-12, atol=1e-12)


def test_a_new_module_has_alpha_one() -> None:
    assert torch.equal(Snake1d(3).alpha, torch.ones(1, 3, 1))


def test_more_axes_and_no_samples() -> None:
    snake = Snake1d(3)
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(snake(x).flatten(2), snake(x.flatten(2)))
    assert snake(x[..., :0, :]).shape == (2, 3, 0, 5)
    assert snake(torch.randn(2, 3, 0)).shape == (2, 3, 0)
