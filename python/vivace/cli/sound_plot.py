"""The picture that `vivace audioldm --plot` draws: mel spectrograms, one below the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from vivace.models.audioldm.mel import log_mel, mel_edges

__all__ = ["draw", "require"]

_TICKS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000)
_MOST_PANELS = 16


def require() -> None:
    """Raises ValueError if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise ValueError(
            "--plot needs matplotlib, which is not installed: pip install 'vivace[bench]'"
        ) from None
    matplotlib.use("Agg")


def draw(path: Path, sounds: Tensor, vocoder: Any, title: str) -> None:
    """Writes a PNG of the sounds (N, L), at most the first 16, as a model of this vocoder's
    configuration sees them."""
    from matplotlib import pyplot

    bins, rate, hop = vocoder.model_in_dim, vocoder.sampling_rate, vocoder.hop_length
    mels = log_mel(sounds[:_MOST_PANELS], bins=bins, sampling_rate=rate, hop_length=hop)
    centres = mel_edges(bins, rate)[1:-1]
    ticks = [hz for hz in _TICKS_HZ if float(centres[0]) <= hz <= float(centres[-1])]
    places = [int((centres - hz).abs().argmin()) for hz in ticks]
    figure, axes = pyplot.subplots(
        len(mels),
        1,
        figsize=(9, 1 + 2.4 * len(mels)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    span = (0.0, sounds.shape[1] / rate, -0.5, bins - 0.5)
    # Below the loudest by 9, 78 dB, there is nothing to hear.
    top = float(mels.max())
    for axis, mel in zip(axes[:, 0], mels, strict=True):
        image = axis.imshow(
            mel.T.numpy(), origin="lower", aspect="auto", extent=span, vmin=top - 9, vmax=top
        )
        axis.set_yticks(places, [f"{hz:g}" for hz in ticks])
        axis.set_ylabel("Hz (mel scale)")
    figure.colorbar(image, ax=axes, label="log magnitude")
    # A dollar sign would begin a formula.
    axes[0, 0].set_title(title[:80].replace("$", r"\$"), loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("s")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
