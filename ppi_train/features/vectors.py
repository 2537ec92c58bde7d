"""Sources of protein features: a table in memory, or a cache file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

_ROWS = 8192


class Features(Protocol):
    """A numbered table of proteins, as models take them."""

    def __len__(self) -> int:
        """The number of proteins in the table."""

    def load(self, requests: Iterable[Tensor]) -> Iterator[Any]:
        """Yields what `encode` takes for each request of proteins (n,).

        Requests may be consumed ahead of what is yielded.
        """

    def chunks(self) -> Sequence[Tensor]:
        """Protein numbers in order, in chunks small enough to encode at once."""

    def to(self, device: torch.device) -> Features:
        """The table, yielding tensors on that device."""


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
    """An iterable over all proteins in chunks, as `encode` takes them.

    It can be iterated more than once.
    """

    features: Features

    def __iter__(self) -> Iterator[Any]:
        return self.features.load(self.features.chunks())
