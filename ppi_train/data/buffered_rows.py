"""Rows that come in pieces of any size and go on in pieces of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np


class BufferedRows:
    """Gathers columns until `size` rows are full."""

    def __init__(self, size: int) -> None:
        self._size, self._held = size, 0
        self._pieces: list[Mapping[str, np.ndarray]] = []

    def add(self, columns: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Takes rows, and yields those pieces that are full now."""
        count, start = len(next(iter(columns.values()))), 0
        while self._held + count - start >= self._size:
            stop = start + self._size - self._held
            self._pieces.append(_cut(columns, start, stop))
            start = stop
            yield self._all()
        if start < count:
            self._pieces.append(_cut(columns, start, count))
            self._held += count - start

    def rest(self) -> dict[str, np.ndarray] | None:
        """What is left, in the end; None if nothing is."""
        return self._all() if self._pieces else None

    def _all(self) -> dict[str, np.ndarray]:
        whole = {name: np.concatenate([one[name] for one in self._pieces]) for name in self._pieces[0]}
        self._pieces, self._held = [], 0
        return whole


def _cut(columns: Mapping[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: one[start:stop] for name, one in columns.items()}
