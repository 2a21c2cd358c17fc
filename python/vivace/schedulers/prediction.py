"""What the model predicts, as linear functions of the sample x and the model's output m."""

from math import inf, sqrt

from vivace.schedulers.outputs import Affine

PREDICTIONS = ("epsilon", "sample", "v_prediction")


def check_prediction(prediction: str, allowed: tuple[str, ...] = PREDICTIONS) -> None:
    """Raises ValueError if `prediction` is not allowed."""
    if prediction not in allowed:
        raise ValueError(f"prediction_type must be one of {allowed}, got {prediction!r}")


def clean_of(prediction: str, alpha: float, sigma: float) -> Affine:
    """The noise-free sample x₀, where x = alpha·x₀ + sigma·ε. Infinite where alpha hides it."""
    if prediction == "epsilon":
        return Affine(_over(1.0, alpha), _over(-sigma, alpha))
    if prediction == "sample":
        return Affine(0.0, 1.0)
    return Affine(alpha, -sigma)


def noise_of(prediction: str, alpha: float, sigma: float) -> Affine:
    """The noise ε, where x = alpha·x₀ + sigma·ε."""
    if prediction == "epsilon":
        return Affine(0.0, 1.0)
    if prediction == "sample":
        return Affine(_over(1.0, sigma), _over(-alpha, sigma))
    return Affine(sigma, alpha)


def clean_of_exploding(prediction: str, sigma: float) -> Affine:
    """x₀, where x = x₀ + sigma·ε: the sample of the schedulers that scale the model's input."""
    if prediction == "epsilon":
        return Affine(1.0, -sigma)
    if prediction == "v_prediction":
        return Affine(1 / (sigma**2 + 1), -sigma / sqrt(sigma**2 + 1))
    return Affine(0.0, 1.0)


def _over(value: float, divisor: float) -> float:
    return value / divisor if divisor != 0.0 else (inf if value > 0 else -inf)
