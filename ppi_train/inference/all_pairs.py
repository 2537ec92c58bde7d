"""Scoring of all pairs of proteins into a network, which keeps those above a threshold in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from ppi_train.evaluation.network import Network, network_from_pairs
from ppi_train.evaluation.network.expected import LogitCounts
from ppi_train.inference.pair_grid import PairGrid, cell_proteins, cell_values
from ppi_train.inference.scan import EncodedProteins, score_cells
from ppi_train.io.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PredictedPairs:
    """Scored pairs with a logit of at least `least`.

    Attributes:
        proteins: All proteins that were paired.
        pairs: (m, 2) numbers of proteins.
        logits: (m,) float32.
        least: Logits below were not kept.
        counts: How many of all pairs have each logit.
        seconds: How long that took.
    """

    proteins: tuple[str, ...]
    pairs: np.ndarray
    logits: np.ndarray
    least: float
    counts: LogitCounts
    seconds: float

    @property
    def scored(self) -> int:
        """How many pairs were scored."""
        return self.counts.pairs

    def network(self, threshold: float) -> Network:
        """The network of the pairs at or above a logit.

        The threshold must not be below `least`.
        """
        assert threshold >= self.least, f"{threshold} is below {self.least}"
        # In float64: a threshold just above a score would be that score in float32.
        logits = self.logits.astype(np.float64)
        return network_from_pairs(self.proteins, self.pairs, logits, threshold=threshold)


@torch.inference_mode()
def predict_pairs(
    encoded: EncodedProteins, proteins: tuple[str, ...], *, include_self: bool, least: float
) -> PredictedPairs:
    """Scores all pairs among some proteins, and keeps those above a threshold.

    Memory holds one block of a million logits at a time, and the kept pairs: 20 bytes each.

    Args:
        encoded: The proteins, in their order.
        proteins: Their accessions.
        include_self: Whether a protein is paired with itself as well.
        least: The lowest logit of a pair that is kept.

    Raises:
        CheckpointError: the model gives scores that are not finite.
    """
    begun = time.perf_counter()
    counts = LogitCounts.of(np.empty(0))
    grid = PairGrid(shared=len(proteins), include_self=include_self)
    pairs, kept_logits = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    with Progress(grid.pairs) as progress:
        for number, block in enumerate(grid.blocks):
            a, b, logits, _ = score_cells(encoded, grid, number, uncertainty=False)
            kept, ignored = logits >= least, grid.not_counted(block, encoded.device)
            counts += LogitCounts.of((logits if ignored is None else logits[~ignored]).cpu().numpy())
            chosen = (kept if ignored is None else kept & ~ignored).flatten().nonzero().squeeze(1)
            ends = [proteins_of.cpu().numpy() for proteins_of in cell_proteins(a, b, chosen)]
            pairs.append(np.stack(ends, axis=1))
            kept_logits.append(cell_values(logits, chosen).float().cpu().numpy())
            progress.advance(grid.pairs_in(number))
    return PredictedPairs(
        proteins=proteins,
        pairs=np.concatenate(pairs),
        logits=np.concatenate(kept_logits),
        least=least,
        counts=counts,
        seconds=time.perf_counter() - begun,
    )
