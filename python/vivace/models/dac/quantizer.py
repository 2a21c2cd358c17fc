"""Residual vector quantisation with factorised, normalised codebooks, as transformers' DAC has it.

The arithmetic is float32 (float64 for double models) whatever the model's dtype: in bfloat16 the
nearest code of a single stage would be wrong for 3 to 6 % of the vectors, and errors add up.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivace.models.dac.config import DacConfig
from vivace.nn.flow import Ragged
from vivace.nn.geometry import InputError
from vivace.ops import rvq_decode, rvq_encode
from vivace.ops._packed import packed
from vivace.ops.rvq_encode import nearest


class DacVectorQuantize(nn.Module):
    """One codebook: project to codebook_dim, take the nearest code, project back."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.codebook_dim = config.codebook_dim
        self.in_proj = nn.Conv1d(config.hidden_size, config.codebook_dim, kernel_size=1)
        self.out_proj = nn.Conv1d(config.codebook_dim, config.hidden_size, kernel_size=1)
        self.codebook = nn.Embedding(config.codebook_size, config.codebook_dim)

    def forward(self, hidden_state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """hidden_state (B, hidden_size, T) -> (quantized (B, hidden_size, T), commitment_loss,
        codebook_loss (scalars), codes (B, T) int64, projected latents (B, codebook_dim, T)).
        """
        with _without_autocast(hidden_state):
            z, commitment, codebook, codes, latents = self.quantize(_wide(hidden_state))
        dtype = self.codebook.weight.dtype
        return z.to(dtype), commitment, codebook, codes, latents.to(dtype)

    def quantize(
        self, hidden_state: Tensor, lengths: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`forward` in the input's own (wide) dtype; with lengths (frames), losses are per row."""
        latents = _project(self.in_proj, hidden_state)
        rows, codes = self.decode_latents(latents)
        rows = rows.to(latents.dtype)
        commitment_loss = _mean_square(latents, rows.detach(), lengths)
        codebook_loss = _mean_square(rows, latents.detach(), lengths)
        # Straight-through estimator. p + (q - p) differs from q by rounding, and the next
        # codebook sees the difference: codes equal transformers' only with the same rounding.
        rows = latents + (rows - latents).detach()
        return self.project_out(rows), commitment_loss, codebook_loss, codes, latents

    def project_out(self, rows: Tensor) -> Tensor:
        """`out_proj` in the dtype of the rows (B, codebook_dim, T), whatever the weights' is."""
        with _without_autocast(rows):
            return _project(self.out_proj, rows)

    def table(self) -> Tensor:
        """`project_out` of every row of the codebook: (codebook_size, hidden_size)."""
        return self.project_out(_wide(self.codebook.weight).t()[None])[0].t()

    def decode_latents(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, codebook_dim, T) -> nearest codebook rows (same shape), codes (B, T)."""
        with _without_autocast(hidden_states):
            codes = nearest(_wide(hidden_states).detach(), _wide(self.codebook.weight).detach())
        rows: Tensor = self.codebook(codes)
        return rows.transpose(1, 2), codes


class DacResidualVectorQuantizer(nn.Module):
    """N codebooks in a row, each on what the ones before it left (arXiv:2107.03312)."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.n_codebooks = config.n_codebooks
        self.quantizers = nn.ModuleList(
            DacVectorQuantize(config) for _ in range(config.n_codebooks)
        )
        self.quantizer_dropout = config.quantizer_dropout

    def forward(
        self,
        hidden_state: Tensor,
        n_quantizers: int | None = None,
        *,
        lengths: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """hidden_state (B, hidden_size, T) -> (quantized (B, hidden_size, T), codes (B, N, T)
        int64, projected latents (B, N · codebook_dim, T), commitment_loss (B,), codebook_loss).

        In training mode ``n_quantizers`` is ignored (as upstream) and quantizer_dropout limits
        the codebooks of the first rows. With ``lengths`` (frames of each row) the losses are
        per row and positions past the end hold 0. Losses are float32 also in half precision.
        """
        keep = self._dropout(hidden_state) if self.training else None
        books = self.books(None if self.training else n_quantizers)
        z, codes, latents, commitment, codebook = self.quantize(
            hidden_state, books, keep=keep, lengths=lengths
        )
        return z, codes, latents.to(z.dtype), commitment, codebook

    def books(self, n_quantizers: int | None = None) -> list[DacVectorQuantize]:
        """The first ``n_quantizers`` codebooks; all, if it is None or more than there are.

        Raises InputError for 0 and less.
        """
        if n_quantizers is not None and n_quantizers <= 0:
            raise InputError(f"DacModel: n_quantizers must be at least 1, got {n_quantizers}")
        books = cast("list[DacVectorQuantize]", list(self.quantizers))
        if n_quantizers is None:
            return books
        return [book for index, book in enumerate(books) if index < n_quantizers]

    def quantize(
        self,
        hidden_state: Tensor,
        books: Sequence[DacVectorQuantize],
        *,
        keep: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`forward` without its modes; the latents stay in the dtype of the arithmetic.

        ``keep`` (B,): the number of codebooks that count in each row's sum and losses.
        """
        if keep is None and not _needs_grad(self, hidden_state):
            return self._encode(hidden_state, books, lengths)
        batch = hidden_state.shape[0]
        residual = _wide(hidden_state)
        total = torch.zeros((), dtype=residual.dtype, device=residual.device)
        z, commitment, codebook = total, total, total
        all_codes, all_latents = [], []
        with _without_autocast(hidden_state):
            for index, book in enumerate(books):
                step, commitment_i, codebook_i, codes, latents = book.quantize(residual, lengths)
                residual = residual - step
                if keep is not None:
                    mask = keep > index
                    step, commitment_i, codebook_i = (
                        step * mask[:, None, None],
                        commitment_i * mask,
                        codebook_i * mask,
                    )
                z, commitment, codebook = z + step, commitment + commitment_i, codebook + codebook_i
                all_codes.append(codes)
                all_latents.append(latents)
        codes, latents = torch.stack(all_codes, dim=1), torch.cat(all_latents, dim=1)
        if lengths is not None:
            clip = Ragged(lengths)
            z, codes, latents = clip.clear(z), clip.clear(codes), clip.clear(latents)
        elif keep is None:
            commitment, codebook = commitment.repeat(batch), codebook.repeat(batch)
        return z.to(self._dtype), codes, latents, commitment, codebook

    def _encode(
        self,
        hidden_state: Tensor,
        books: Sequence[DacVectorQuantize],
        lengths: Sequence[int] | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`quantize` by the op that takes all codebooks at once; no gradients."""
        codebooks = _stacked([book.codebook.weight for book in books])
        with _without_autocast(hidden_state):
            codes, latents, z = rvq_encode(
                _wide(hidden_state).transpose(1, 2),
                _stacked([book.in_proj.weight for book in books]).squeeze(3),
                _stacked([book.in_proj.bias for book in books]),
                _stacked([book.out_proj.weight for book in books]).squeeze(3),
                _stacked([book.out_proj.bias for book in books]),
                codebooks,
            )
        rows = codebooks[torch.arange(len(books), device=codes.device), codes].flatten(2)
        dim = codebooks.shape[2]
        error = (latents - rows).pow(2).sum(2, keepdim=True).transpose(1, 2) / dim
        z, codes, latents = (x.transpose(1, 2).contiguous() for x in (z, codes, latents))
        if lengths is None:
            loss = error.mean().repeat(len(z))
        else:
            clip = Ragged(lengths)
            z, codes, latents = clip.clear(z), clip.clear(codes), clip.clear(latents)
            counts = torch.tensor(lengths, device=z.device).clamp(min=1)
            loss = clip.clear(error).sum((1, 2)) / counts
        return z.to(self._dtype), codes, latents, loss, loss

    def from_codes(self, audio_codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (B, n <= N, T) -> (quantized (B, hidden_size, T), codebook rows
        (B, n · codebook_dim, T), the codes).

        Raises IndexError for a wrong rank, too many codebooks and (on the CPU, where looking
        costs no synchronisation) ids outside the codebook; InputError for codes of float type.
        """
        self.check_codes(audio_codes)
        ids = audio_codes.long()
        self._check_ids(ids)
        rows: list[Tensor] = []
        z = None
        for book, codes in zip(self.books(), ids.unbind(1), strict=False):
            rows.append(book.codebook(codes).transpose(1, 2))
            step = book.project_out(_wide(rows[-1]))
            z = step if z is None else z + step
        assert z is not None
        return z.to(self._dtype), torch.cat(rows, dim=1), audio_codes

    def dequantize(self, audio_codes: Tensor) -> Tensor:
        """`from_codes(audio_codes)[0]`, without gradients from a table of projected rows.

        A frame is then N rows read and added; rounding differs by a few ulp. The table, float32
        (N, codebook_size, hidden_size), is made at the first call and again when a weight changes.
        """
        if _needs_grad(self, audio_codes):
            return self.from_codes(audio_codes)[0]
        self.check_codes(audio_codes)
        ids = audio_codes.long()
        self._check_ids(ids)
        books = self.books()
        weights = tuple(parameter for book in books for parameter in book.parameters())
        table = packed(weights, ("table",), lambda: torch.stack([b.table() for b in books]))
        z: Tensor = rvq_decode(ids.transpose(1, 2), table)
        return z.transpose(1, 2).contiguous().to(self._dtype)

    def from_latents(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Projected latents (B, n · codebook_dim, T) -> (quantized (B, hidden_size, T), nearest
        codebook rows (B, n · codebook_dim, T)). Every slice is quantised by itself; channels that
        fill no codebook are left out. Equals `forward`'s quantized for its latents, bit for bit.
        """
        books = self.books()
        if latents.dim() != 3 or latents.shape[1] < books[0].codebook_dim:
            raise InputError(
                f"from_latents: latents must have shape (B, >= {books[0].codebook_dim}, T), "
                f"got {tuple(latents.shape)}"
            )
        all_rows, start, z = [], 0, None
        for book in books:
            end = start + book.codebook_dim
            if end > latents.shape[1]:
                break
            part = _wide(latents[:, start:end])
            rows, _ = book.decode_latents(part)
            all_rows.append(rows)
            step = book.project_out(part + (rows.to(part.dtype) - part))
            z, start = step if z is None else z + step, end
        assert z is not None
        return z.to(self._dtype), torch.cat(all_rows, dim=1)

    @property
    def _dtype(self) -> torch.dtype:
        return self.books()[0].codebook.weight.dtype

    def _dropout(self, hidden_state: Tensor) -> Tensor:
        # Drawn as upstream draws it, also when the probability is 0, so that seeds agree.
        batch = hidden_state.shape[0]
        keep = torch.full((batch,), self.n_codebooks + 1)
        drawn = torch.randint(1, self.n_codebooks + 1, (batch,))
        dropped = int(batch * self.quantizer_dropout)
        keep[:dropped] = drawn[:dropped]
        return keep.to(hidden_state.device)

    def check_codes(self, codes: Tensor) -> None:
        """Raises what `from_codes` raises for codes of another type or shape than (B, N, T)."""
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise InputError(f"from_codes: audio_codes must be integers, got {codes.dtype}")
        if codes.dim() != 3:
            error = IndexError if codes.dim() < 3 else InputError
            raise error(
                "from_codes: audio_codes must have shape (B, N codebooks, T frames), "
                f"got {tuple(codes.shape)}"
            )
        if codes.shape[1] > self.n_codebooks:
            raise IndexError(
                f"from_codes: index {self.n_codebooks} is out of range: audio_codes have "
                f"{codes.shape[1]} codebooks, the model has {self.n_codebooks}"
            )
        if codes.numel() == 0:
            raise InputError(f"from_codes: audio_codes are empty, shape {tuple(codes.shape)}")

    def _check_ids(self, codes: Tensor) -> None:
        if codes.device.type == "cpu":
            low, high = (int(v) for v in codes.aminmax())
            size = self.books()[0].codebook.num_embeddings
            if low < 0 or high >= size:
                bad = low if low < 0 else high
                raise IndexError(f"from_codes: audio_codes must be in [0, {size}), got {bad}")


def _needs_grad(module: nn.Module, x: Tensor) -> bool:
    return torch.is_grad_enabled() and (
        x.requires_grad or any(p.requires_grad for p in module.parameters())
    )


def _stacked(weights: Sequence[Tensor | None]) -> Tensor:
    """(N, ...) in the dtype of the arithmetic, remembered until a weight changes."""
    present = tuple(weight for weight in weights if weight is not None)
    kind = ("stacked", len(present))
    return packed(present, kind, lambda: _wide(torch.stack(present)))


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _project(conv: nn.Conv1d, x: Tensor) -> Tensor:
    if conv.weight.dtype == x.dtype:
        y: Tensor = conv(x)
        return y
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    return F.conv1d(x, conv.weight.to(x.dtype), bias)


def _mean_square(a: Tensor, b: Tensor, lengths: Sequence[int] | None) -> Tensor:
    if lengths is None:
        return F.mse_loss(a, b)
    counts = torch.tensor(lengths, device=a.device, dtype=a.dtype).clamp(min=1) * a.shape[1]
    return Ragged(lengths).clear((a - b).pow(2)).sum((1, 2)) / counts


def _without_autocast(x: Tensor) -> AbstractContextManager[object]:
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
