"""Proteins of any lengths, concatenated in one tensor without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """Rows of several proteins.

    Attributes:
        values: (sum of the lengths, d).
        offsets: (n + 1,) int64, on the CPU: protein i has the rows offsets[i] to offsets[i + 1].
        described: (n, t), the cached output of the model's `describe`, if there is any.
    """

    values: Tensor
    offsets: Tensor
    described: Tensor | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Rows of each protein, (n,) int64."""
        return self.offsets.diff()

    @classmethod
    def one_row_each(cls, values: Tensor) -> Packed:
        """Proteins of one row each, such as their pooled vectors (n, d)."""
        return cls(values, torch.arange(len(values) + 1))

    def take(self, rows: Tensor, memory: Callable[[int], Tensor] | None = None) -> Packed:
        """The proteins at `rows` (m,), in that order; repeats are allowed.

        Args:
            memory: Gives a tensor (n, d), of the type of the values, to write n rows to.
        """
        rows = rows.cpu()
        lengths = self.lengths[rows]
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        # Source of row r of the result: its position in its protein plus that protein's start.
        shift = (self.offsets[:-1][rows] - offsets[:-1]).repeat_interleave(lengths)
        source = torch.arange(int(offsets[-1])) + shift
        out = memory(len(source)) if memory else None
        return Packed(torch.index_select(self.values, 0, source.to(self.values.device), out=out), offsets)

    def protein_of_row(self) -> Tensor:
        """The protein number of each row, (sum of the lengths,) int64."""
        return torch.arange(len(self)).repeat_interleave(self.lengths).to(self.values.device)

    def padded(self) -> tuple[Tensor, Tensor]:
        """Padded values (n, longest, d), and the mask of real rows.

        The mask is (n, longest).

        Values are zero beyond a protein's end.
        """
        longest = int(self.lengths.max()) if len(self) else 0
        own = (torch.arange(longest) < self.lengths[:, None]).to(self.values.device)
        values = self.values.new_zeros(len(self), longest, self.values.shape[-1])
        values[own] = self.values
        return values, own

    def to(self, device: torch.device) -> Packed:
        return Packed(self.values.to(device, non_blocking=True), self.offsets)

    @staticmethod
    def join(parts: Sequence[Packed]) -> Packed:
        """The proteins of all parts, in order."""
        ends = torch.tensor([0] + [int(part.offsets[-1]) for part in parts]).cumsum(0)
        shifted = [part.offsets[1:] + end for part, end in zip(parts, ends, strict=False)]
        return Packed(
            torch.cat([part.values for part in parts]),
            torch.cat([torch.zeros(1, dtype=torch.int64), *shifted]),
        )
