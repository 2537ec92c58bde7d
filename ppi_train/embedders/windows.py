"""Long proteins in overlapping windows, and windows of like length in one batch: numbers only, no model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A stretch of a sequence that a model sees at once; of it the states of `keep_from` to `keep_to` count.

    All are residues of the whole sequence, from 0, ends excluded; `sequence` is its number.
    """

    sequence: int
    start: int
    end: int
    keep_from: int
    keep_to: int

    def __len__(self) -> int:
        return self.end - self.start


def windows_of(sequence: int, length: int, *, size: int, overlap: int) -> list[Window]:
    """The fewest windows of at most `size` residues that overlap by `overlap` or more.

    They lie evenly, all equally long, and neighbours share their overlap half and half: every residue
    is taken from where it stands farthest from a cut, so that it sees the most of both its sides.

    >>> [(one.start, one.end, one.keep_from, one.keep_to) for one in windows_of(0, 10, size=6, overlap=2)]
    [(0, 6, 0, 5), (4, 10, 5, 10)]
    """
    steps = max(0, -(-(length - size) // (size - overlap)))
    if not steps:
        return [Window(sequence, 0, length, 0, length)]
    starts = [step * (length - size) // steps for step in range(steps + 1)]
    cuts = [(left + size + right) // 2 for left, right in itertools.pairwise(starts)]
    edges = zip(starts, [0, *cuts], [*cuts, length], strict=True)
    return [Window(sequence, start, start + size, first, last) for start, first, last in edges]


def batches_by_length(windows: Iterable[Window], *, residues: int) -> list[list[Window]]:
    """Batches of at most `residues`, padding counted, the longest windows first; never an empty one.

    Sorted by length, a batch is nearly free of padding; and what needs the most memory comes first.
    """
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda one: (-len(one), one.sequence, one.start)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0]) <= residues:
            batches[-1].append(window)
        else:
            batches.append([window])
    return batches
