"""Where the proteins that a model encodes come from: a table in memory, or a cache read as it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

_ROWS = 8192


class Features(Protocol):
    """A table of proteins by number, as models take them."""

    def __len__(self) -> int:
        """Proteins in the table."""

    def load(self, requests: Iterable[Tensor]) -> Iterator[Any]:
        """For each request, the numbers (n,) of some proteins, yields what `encode` takes of these.

        Requests may be drawn ahead of what is yielded.
        """

    def chunks(self) -> Sequence[Tensor]:
        """All proteins in order, some at a time: few enough to be encoded at once."""

    def to(self, device: torch.device) -> Features:
        """The table, yielding on that device."""


@dataclass(frozen=True)
class VectorFeatures:
    """One vector a protein, (n, d) float32, in memory."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def load(self, requests: Iterable[Tensor]) -> Iterator[Tensor]:
        for rows in requests:
            yield self.values[rows]

    def chunks(self) -> Sequence[Tensor]:
        return list(torch.arange(len(self.values), device=self.values.device).split(_ROWS))

    def to(self, device: torch.device) -> VectorFeatures:
        return VectorFeatures(self.values.to(device))


@dataclass(frozen=True)
class EveryProtein:
    """All proteins in order, some at a time, as `encode` takes them, as often as they are gone through."""

    features: Features

    def __iter__(self) -> Iterator[Any]:
        return self.features.load(self.features.chunks())
