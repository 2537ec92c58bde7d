"""Scores of a block of which a scan keeps few pairs: exact ones only where a pair may be kept.

On processors with instructions for bf16 all pairs are scored roughly, with a bound on the error, and those
that may be kept are then scored exactly: to the last bit as in a whole block. So what is kept does not depend
on the processor's instructions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ppi_train.inference.pair_grid import PairGrid, cell_proteins, cell_values
from ppi_train.inference.scan import EncodedProteins, score_cells
from ppi_train.inference.scoring import Scorer, calibrated
from ppi_train.models.device import has_fast_bf16
from ppi_train.models.rough_block import RoughBlock, stacked

logger = logging.getLogger(__name__)

MayKeep = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From the proteins of a block's rows (n,) and columns (m,), and a lower and an upper bound on each logit
(n, m), the pairs (n, m) that may be kept. Pairs with an upper bound of -inf are never kept."""

# Where a larger share of a block's pairs may be kept, it is faster to score all of them exactly ...
_MOST = 0.2
# ... and the same is expected of as many blocks that follow.
_BLOCKS = 15
# The largest error that agrees with the bound, as a share of it: errors that were met are below a tenth.
_FARTHEST = 0.5
# Of fewer proteins on a side, the preparations take as long as they save.
_FEWEST = 32


class Screen:
    """Scores the blocks of a grid for a scan that keeps few pairs.

    The bound on the error of rough scores takes rounding errors as independent, see
    `ppi_train.models.rough_block`: under that assumption a scan of 10^8 pairs misses one with a probability
    below 10^-9. Therefore it is checked on every pair that may be kept, and on a whole row of each block.
    Where an error is more than half the bound, the whole block is scored exactly. The pairs of that row that
    may be kept must also have the same bits as in the row, else all blocks are scored exactly from then on.
    The log says both.

    Args:
        proteins: All proteins of the grid, encoded.
        grid: The pairs to score.
    """

    def __init__(self, proteins: EncodedProteins, grid: PairGrid) -> None:
        self._proteins, self._grid = proteins, grid
        rough = proteins.rough
        self._is_on = has_fast_bf16(proteins.device) if rough is None else rough
        self._is_on &= proteins.device.type == "cpu"
        # Blocks to be scored exactly before the next is tried.
        self._waits = 0

    def score(self, number: int, may_keep: MayKeep) -> tuple[Tensor, Tensor, Tensor]:
        """Scores a block.

        Returns:
            The proteins of its rows (n,) and columns (m,), and the calibrated logits (n, m); -inf, or the
            logit, for a pair that cannot be kept.

        Raises:
            CheckpointError: a score is not finite.
        """
        found = self._screened(number, may_keep) if self._is_on and not self._waits else None
        if found is not None:
            return found
        self._waits = max(0, self._waits - 1)
        return score_cells(self._proteins, self._grid, number, uncertainty=False)[:3]

    def reaching(self, number: int, least: float) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """The counted pairs of a block with a calibrated logit of at least `least`.

        Returns:
            Their proteins, (c,) and (c,), and their logits (c,), row by row.

        Raises:
            CheckpointError: a score is not finite.
        """
        ignored = self._grid.not_counted(self._grid.blocks[number], self._proteins.device)

        def reach(logits: Tensor) -> Tensor:
            return logits >= least if ignored is None else (logits >= least) & ~ignored

        a, b, logits = self.score(number, lambda _a, _b, _lower, upper: reach(upper))
        cells = reach(logits).flatten().nonzero().squeeze(1)
        return cell_proteins(a, b, cells), cell_values(logits, cells)

    def _screened(self, number: int, may_keep: MayKeep) -> tuple[Tensor, Tensor, Tensor] | None:
        """What `score` returns, or None if the block must be scored as a whole."""
        a, b = (torch.from_numpy(numbers) for numbers in self._grid.numbers(self._grid.blocks[number]))
        block = self._rough(number, a, b) if min(len(a), len(b)) >= _FEWEST else None
        if block is None:
            return None
        bounds = _Bounds(self._proteins.model, block)
        if not bounds.are_finite:
            return None
        # A row of the first strip, which has all columns.
        height = self._grid.strips(self._grid.blocks[number])[0][0].stop
        row = torch.arange(len(b)) + number % height * len(b)
        whole_row = bounds.compare(row)
        # The best of the lower bounds come first: their exact scores rule out many others.
        for upper in (bounds.lower, bounds.upper):
            cells = bounds.unknown(may_keep(a, b, bounds.lower, upper))
            if bounds.known + len(cells) > _MOST * len(a) * len(b):
                self._waits = _BLOCKS + 1
                return None
            bounds.replace(cells)
        return (a, b, bounds.exact) if self._agrees(number, bounds, row, whole_row) else None

    def _agrees(self, number: int, bounds: _Bounds, row: Tensor, whole_row: Tensor) -> bool:
        """Whether exact logits agree with the rough ones, and those of a row's cells with the whole row's."""
        in_row = bounds.exact.view(-1)[row]
        if bool(((in_row != whole_row) & (in_row > -torch.inf)).any()):
            logger.warning("all pairs are scored in float32: this processor scores few pairs differently")
            self._is_on = False
            return False
        if not bounds.farthest <= _FARTHEST:
            logger.warning(
                "block %s is scored in float32: a score in bf16 differs by %s of the bound on its error",
                number, f"{bounds.farthest:.2f}",
            )  # fmt: skip
            return False
        return True

    def _rough(self, number: int, a: Tensor, b: Tensor) -> RoughBlock | None:
        """Scores a block roughly; of a block of proteins with themselves little more than one half."""
        found = []
        for rows, first in self._grid.strips(self._grid.blocks[number]):
            strip = self._proteins.model.rough_block(self._proteins.at(a[rows]), self._proteins.at(b[first:]))
            if strip is None:
                self._is_on = False
                return None
            found.append(strip)
        return found[0] if len(found) == 1 else stacked(found, len(a), len(b))


class _Bounds:
    """Bounds on the calibrated logits (n, m) of a block, of which some become known exactly.

    Args:
        model: Gives the temperature.
        block: The rough scores.

    Attributes:
        lower, upper: The bounds (n, m).
        exact: (n, m), the known logits; others are -inf.
        known: How many these are.
        farthest: The largest distance of a known logit from the rough one, as a share of the bound on it.
    """

    def __init__(self, model: Scorer, block: RoughBlock) -> None:
        self._model, self._block = model, block
        self._logits, self._error = calibrated(model, block.logits), calibrated(model, block.error)
        self.lower, self.upper = self._logits - self._error, self._logits + self._error
        self.exact = torch.full_like(self.lower, -torch.inf)
        self.known, self.farthest = 0, 0.0

    @property
    def are_finite(self) -> bool:
        return bool(torch.isfinite(self.lower.sum() + self.upper.sum()))

    def unknown(self, chosen: Tensor) -> Tensor:
        """The cells (c,) of the flattened block that are chosen (n, m) and not known."""
        cells = chosen.flatten().nonzero().squeeze(1)
        return cells[self.exact.view(-1)[cells] == -torch.inf]

    def replace(self, cells: Tensor) -> None:
        """Replaces the bounds of some cells (c,) of the flattened block by the exact logits."""
        logits = self.compare(cells)
        self.known += len(cells)
        for values in (self.lower, self.upper, self.exact):
            values.view(-1)[cells] = logits

    def compare(self, cells: Tensor) -> Tensor:
        """Computes the exact logits (c,) of some cells (c,), and how far the rough ones are off."""
        logits = calibrated(self._model, self._block.exact(cells))
        apart = (logits - self._logits.view(-1)[cells]).abs_().div_(self._error.view(-1)[cells])
        # A NaN stays.
        self.farthest = float(torch.cat([apart, torch.tensor([self.farthest])]).max())
        return logits
