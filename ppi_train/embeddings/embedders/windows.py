"""Overlapping windows of long proteins, batched by length.

This module handles numbers only, no model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A stretch of a sequence that a model processes at once.

    Only the states from `keep_from` to `keep_to` are used.

    All positions are in the whole sequence, from 0, ends excluded; `sequence` is the sequence's number.
    """

    sequence: int
    start: int
    end: int
    keep_from: int
    keep_to: int

    def __len__(self) -> int:
        return self.end - self.start


def windows_of(sequence: int, length: int, *, size: int, overlap: int) -> list[Window]:
    """The fewest windows that overlap by `overlap` or more.

    A window has at most `size` residues.

    They are evenly spaced and equally long, and neighbours split their overlap in half: every residue is
    taken from the window where it is farthest from a cut, so that it has the most context on both sides.

    >>> windows = windows_of(0, 10, size=6, overlap=2)
    >>> [(window.start, window.end, window.keep_from, window.keep_to) for window in windows]
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
    """Batches of at most `residues`, padding included, the longest windows first.

    No batch is empty.

    Sorted by length, a batch has little padding; and the batch that needs the most memory comes first.
    """
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda window: (-len(window), window.sequence, window.start)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0]) <= residues:
            batches[-1].append(window)
        else:
            batches.append([window])
    return batches
