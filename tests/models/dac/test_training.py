"""Training mode: gradients, dropout and random draws are those of transformers."""

from typing import Any

import pytest
import torch

from tests.models.dac.helpers import audio, close, pair, small_model


def step(model: Any, x: torch.Tensor, n_quantizers: int | None) -> Any:
    """One pass with a loss that reaches every parameter, seeded; gradients are left behind."""
    torch.manual_seed(11)
    result = model(x, n_quantizers)
    error = (result.audio_values - x[:, 0, : result.audio_values.shape[-1]]).abs().mean()
    (result.loss.mean() + error).backward()
    return result


@pytest.mark.parametrize("ratios", [(2, 4), (3, 5)])
@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_gradients(ratios: tuple[int, ...], dropout: float, dtype: torch.dtype) -> None:
    ours, theirs = pair(ratios, dtype, quantizer_dropout=dropout)
    x = audio(4, 130, dtype)
    # n_quantizers is ignored in training mode, even if there are no such codebooks.
    found, expected = step(ours.train(), x, 0), step(theirs.train(), x, 2)
    assert found.audio_codes.shape[1] == 4
    assert all(map(torch.equal, found.to_tuple(), expected.to_tuple()))
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    pairs = zip(ours.named_parameters(), theirs.named_parameters(), strict=True)
    for (name, a), (other, b) in pairs:
        assert name == other
        close(a.grad, b.grad, tolerance)
        assert a.grad.abs().max() > 0, name


def test_gradients_in_eval_mode_and_through_codes_and_latents() -> None:
    ours, theirs = pair()
    x = audio(2, 100)
    codes, latents = ours.encode(x).audio_codes, ours.encode(x).projected_latents.detach()
    for model in (ours, theirs):
        model.zero_grad()
        model.encode(x, 2).loss.sum().backward()
        model.decode(audio_codes=codes).audio_values.square().sum().backward()
        model.quantizer.from_latents(latents)[0].square().sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            close(a.grad, b.grad, 1e-11)


def test_gradients_of_a_padded_batch_are_the_sum_of_its_clips() -> None:
    model = small_model()
    x, lengths = audio(2, 200), [200, 90]
    mask = torch.arange(200) < torch.tensor(lengths)[:, None]

    def loss_of(result: Any) -> torch.Tensor:
        return result.loss.sum() + result.audio_values.square().sum()

    loss_of(model(x, padding_mask=mask)).backward()
    together = [p.grad for p in model.parameters()]
    model.zero_grad()
    for row, length in enumerate(lengths):
        loss_of(model(x[row : row + 1, :, :length])).backward()
    for a, p in zip(together, model.parameters(), strict=True):
        close(a, p.grad, 1e-11)


def test_a_model_with_weight_norm_learns() -> None:
    model = small_model(dtype=torch.float32, quantizer_dropout=0.5).train()
    model.apply_weight_norm()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = torch.sin(torch.arange(400) * 0.2).repeat(4, 1, 1)
    errors = []
    for _ in range(25):
        result = model(x)
        error = (result.audio_values - x[:, 0]).square().mean()
        optimizer.zero_grad()
        (error + result.loss.mean()).backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.6 * errors[0], errors
