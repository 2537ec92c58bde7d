"""The pairs that a scan scores, divided into blocks.

They are every protein with every other, or a list of pairs.

Legend of shapes: n proteins on one side of a block, m on the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ppi_train.inference.pair_sets import PairSet

# Proteins on either side of a block: its logits are 4 MB, and the states of both sides fit into a
# processor's cache.
SIDE = 1024
# Rows of the strips into which a block of proteins with themselves is cut.
STRIP = 128
# The fewest columns of a strip: the last digits of fewer pairs may be others.
_COLUMNS = 16
# Pairs in a block of a `PairList`.
LISTED = 65_536


@dataclass(frozen=True)
class Block:
    """A block of pairs between two lists of proteins.

    Proteins `rows` of the first list with proteins `columns` of the second, by position in the lists.
    """

    rows: slice
    columns: slice


@dataclass(frozen=True, kw_only=True)
class PairGrid:
    """All unordered pairs between two lists of proteins, each once.

    Proteins have numbers: first those of both lists, then those of the first alone, then those of the
    second alone. All pairs of a list are the pairs of the list with itself.

    Attributes:
        shared: Proteins of both lists.
        only_a: Proteins of the first list alone.
        only_b: Proteins of the second list alone.
        include_self: Whether a protein of both lists is paired with itself.
        side: Proteins on either side of a block.
        excluded: Pairs that are scored with their block, but never kept; None for none.
    """

    shared: int
    only_a: int = 0
    only_b: int = 0
    include_self: bool = False
    side: int = SIDE
    excluded: PairSet | None = field(default=None, compare=False)

    @property
    def proteins(self) -> int:
        return self.shared + self.only_a + self.only_b

    @property
    def pairs(self) -> int:
        both = self.shared * (self.shared - 1) // 2 + (0 if self.include_self else self.shared)
        return (self.shared + self.only_a) * (self.shared + self.only_b) - both

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks with at least one counted pair, in scoring order."""
        rows, columns = (
            list(in_chunks(self.shared + unshared, self.side)) for unshared in (self.only_a, self.only_b)
        )
        blocks = (Block(a, b) for a in rows for b in columns)
        return tuple(block for block in blocks if self._pairs_of(block))

    def pairs_in(self, number: int) -> int:
        """The number of counted pairs in a block."""
        return self._pairs_of(self.blocks[number])

    def _pairs_of(self, block: Block) -> int:
        rows, columns = block.rows, block.columns
        cells: int = (rows.stop - rows.start) * (columns.stop - columns.start)
        ends = np.arange(rows.start, min(rows.stop, self.shared)) + (0 if self.include_self else 1)
        return cells - int(np.clip(ends - columns.start, 0, columns.stop - columns.start).sum())

    def numbers(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """The proteins of a block's rows (n,) and columns (m,), int64, ascending."""
        columns = np.arange(block.columns.start, block.columns.stop)
        return np.arange(block.rows.start, block.rows.stop), np.where(
            columns < self.shared, columns, columns + self.only_a
        )

    def strips(self, block: Block) -> list[tuple[slice, int]]:
        """The rows of a block in strips, and the first column of each; no earlier cell counts.

        Both are positions in the block. Only a block of proteins with themselves, of which half the cells
        count, has several strips.
        """
        size = block.rows.stop - block.rows.start
        if block.rows != block.columns or block.rows.stop > self.shared:
            return [(slice(0, size), 0)]
        return [(rows, max(0, min(rows.start, size - _COLUMNS))) for rows in in_chunks(size, STRIP)]

    def not_counted(self, block: Block, device: torch.device) -> Tensor | None:
        """A mask of the cells (n, m) that do not count.

        They repeat another cell's pair, or are not requested. None if all cells count.
        """
        repeated = self._repeated(block, device)
        if self.excluded is None:
            return repeated
        rows, columns = self.excluded.cells(block.rows, self.numbers(block)[1])
        if not len(rows):
            return repeated
        if repeated is None:
            size = block.rows.stop - block.rows.start, block.columns.stop - block.columns.start
            repeated = torch.zeros(size, dtype=torch.bool, device=device)
        repeated[torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)] = True
        return repeated

    def _repeated(self, block: Block, device: torch.device) -> Tensor | None:
        rows, columns = block.rows, block.columns
        if columns.start >= min(rows.stop, self.shared):
            return None
        a = torch.arange(rows.start, rows.stop, device=device)[:, None]
        b = torch.arange(columns.start, columns.stop, device=device)
        return ((b < a) if self.include_self else (b <= a)) & (a < self.shared)

    def oriented(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Orders each pair by list, else by number.

        A protein of the first list comes first, else the smaller number. Pairs are (m,) and (m,).
        """
        a, b = np.minimum(first, second), np.maximum(first, second)
        turned = (b >= self.shared) & (b < self.shared + self.only_a)
        return np.where(turned, b, a), np.where(turned, a, b)


@dataclass(frozen=True, kw_only=True)
class PairList:
    """A given list of pairs.

    `index` (p, 2) holds the numbers of their proteins.
    """

    index: np.ndarray

    @property
    def proteins(self) -> int:
        return int(self.index.max(initial=-1)) + 1

    @property
    def pairs(self) -> int:
        return len(self.index)

    @cached_property
    def blocks(self) -> tuple[slice, ...]:
        return tuple(in_chunks(len(self.index), LISTED))

    def pairs_in(self, number: int) -> int:
        """The number of pairs in a block."""
        return int(self.blocks[number].stop - self.blocks[number].start)


def cell_proteins(a: Tensor, b: Tensor, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
    """The proteins of a block's cells, row by row.

    Of the `chosen` cells, as flat numbers, or of all.
    """
    if chosen is None:
        return a.repeat_interleave(len(b)), b.repeat(len(a))
    return a[chosen // len(b)], b[chosen % len(b)]


def cell_values(values: Tensor, chosen: Tensor | None) -> Tensor:
    """The values of a block (n, m) at the same cells (cells,)."""
    return values.flatten() if chosen is None else values.flatten()[chosen]


def in_chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count` items."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
