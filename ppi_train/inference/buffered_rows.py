"""Regrouping rows into pieces of a fixed size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np


class BufferedRows:
    """Gathers columns until `size` rows are full."""

    def __init__(self, size: int) -> None:
        self._size, self._buffered = size, 0
        self._pieces: list[Mapping[str, np.ndarray]] = []

    def add(self, columns: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Takes rows, and yields the pieces that are now full."""
        count, start = len(next(iter(columns.values()))), 0
        while self._buffered + count - start >= self._size:
            stop = start + self._size - self._buffered
            self._pieces.append(_cut(columns, start, stop))
            start = stop
            yield self._all()
        if start < count:
            self._pieces.append(_cut(columns, start, count))
            self._buffered += count - start

    def rest(self) -> dict[str, np.ndarray] | None:
        """The rows left at the end; None if there are none."""
        return self._all() if self._pieces else None

    def _all(self) -> dict[str, np.ndarray]:
        whole = {name: np.concatenate([piece[name] for piece in self._pieces]) for name in self._pieces[0]}
        self._pieces, self._buffered = [], 0
        return whole


def _cut(columns: Mapping[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: column[start:stop] for name, column in columns.items()}
