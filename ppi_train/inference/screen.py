"""Scores of a block of which a scan keeps few pairs: exact ones only where a pair may be kept.

On processors with instructions for bf16 all pairs are scored roughly, with a bound on the error, and those
that may be kept are then scored exactly: to the last bit as in a whole block. So what is kept does not depend
on the processor's instructions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.scan import EncodedProteins, score_cells
from ppi_train.inference.scoring import calibrated
from ppi_train.models.device import has_fast_bf16

logger = logging.getLogger(__name__)

MayKeep = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From the proteins of a block's rows (n,) and columns (m,), and a lower and an upper bound on each logit
(n, m), the pairs (n, m) that may be kept. Pairs with an upper bound of -inf are never kept."""

# Where more of a block's pairs may be kept, it is faster to score all of them exactly ...
_MOST = 0.2
# ... and the same is expected of as many blocks that follow.
_BLOCKS = 15

# The largest error that agrees with the bound, as a share of it: errors that were met are below a tenth.
_FARTHEST = 0.5
# Below it the preparations take as long as they save.
_FEWEST_ROWS = 32


class Screen:
    """Scores the blocks of a grid for a scan that keeps few pairs.

    The bound on the error of rough scores is not a proof: it takes rounding errors as independent, see
    `ppi_train.models.rough_block`. So it is checked on every pair that may be kept, and on a whole row of
    each block. Where an error is more than half the bound, the whole block is scored exactly, and the log
    says so.

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

    def _screened(self, number: int, may_keep: MayKeep) -> tuple[Tensor, Tensor, Tensor] | None:
        """What `score` returns, or None if the block must be scored as a whole."""
        model = self._proteins.model
        a, b = (torch.from_numpy(numbers) for numbers in self._grid.numbers(self._grid.blocks[number]))
        if len(a) < _FEWEST_ROWS:
            return None
        states = self._proteins.at(a), self._proteins.at(b)
        rough = model.rough_block(*states)
        if rough is None:
            self._is_on = False
            return None
        bounds = _Bounds(calibrated(model, rough.logits), calibrated(model, rough.error))
        if not bounds.are_finite:
            return None
        # The best of the lower bounds, and a whole row: exact scores of these rule out many others.
        chosen = may_keep(a, b, bounds.lower, bounds.lower)
        chosen[number % len(a)] = True
        if not self._score(number, states, chosen, bounds):
            return None
        chosen = may_keep(a, b, bounds.lower, bounds.upper) & ~bounds.exact
        if not self._score(number, states, chosen, bounds):
            return None
        return a, b, bounds.upper.masked_fill(~bounds.exact, -torch.inf)

    def _score(self, number: int, states: tuple[Any, Any], chosen: Tensor, bounds: _Bounds) -> bool:
        """Scores chosen pairs exactly; False if the block must be scored as a whole."""
        if int(chosen.sum()) > _MOST * chosen.numel():
            self._waits = _BLOCKS + 1
            return False
        model = self._proteins.model
        off = bounds.put(chosen, calibrated(model, model.score_some_of_block(*states, chosen)))
        if off <= _FARTHEST:
            return True
        logger.warning(
            "block %s is scored in float32: a score in bf16 differs by %s of the bound on its error",
            number, f"{off:.2f}",
        )  # fmt: skip
        return False


class _Bounds:
    """Bounds on the logits (n, m) of a block, of which some become known exactly.

    Args:
        logits: Rough ones (n, m).
        error: How far off each may be (n, m).
    """

    def __init__(self, logits: Tensor, error: Tensor) -> None:
        self._logits, self._error = logits, error
        self.lower, self.upper = logits - error, logits + error
        self.exact = torch.zeros_like(logits, dtype=torch.bool)
        """(n, m), where both bounds are the exact logit."""

    @property
    def are_finite(self) -> bool:
        return bool(torch.isfinite(self.lower.sum() + self.upper.sum()))

    def put(self, chosen: Tensor, logits: Tensor) -> float:
        """Sets exact logits (c,) of chosen pairs, a mask (n, m).

        Returns:
            The largest distance from a rough logit, as a share of the bound on it.
        """
        shares = (logits - self._logits[chosen]).abs_().div_(self._error[chosen])
        self.exact |= chosen
        for bounds in (self.lower, self.upper):
            bounds.masked_scatter_(chosen, logits)
        return float(shares.max()) if len(shares) else 0.0
