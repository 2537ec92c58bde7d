"""Scoring of all pairs of proteins into a network, which keeps those above a threshold in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from ppi_train.evaluation.network import Network, network_from_pairs
from ppi_train.features import Features
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scoring import encode_all
from ppi_train.inference.screen import Screen
from ppi_train.io.progress import Progress
from ppi_train.models.base import PairModel


@dataclass(frozen=True, kw_only=True)
class PredictedPairs:
    """Scored pairs with a logit of at least `least`.

    Attributes:
        proteins: All proteins that were paired.
        pairs: (m, 2) numbers of proteins.
        logits: (m,) float32.
        least: Logits below were not kept.
        scored: How many pairs were scored.
        seconds: How long that took.
    """

    proteins: tuple[str, ...]
    pairs: np.ndarray
    logits: np.ndarray
    least: float
    scored: int
    seconds: float

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
    model: PairModel,
    features: Features,
    proteins: tuple[str, ...],
    *,
    include_self: bool,
    least: float,
    device: torch.device,
) -> PredictedPairs:
    """Scores all pairs among some proteins, and keeps those above a threshold.

    Memory holds one block of a million logits at a time, and the kept pairs: 20 bytes each.

    Args:
        model: In evaluation mode.
        features: Of the proteins, in their order.
        proteins: Their accessions.
        include_self: Whether a protein is paired with itself as well.
        least: The lowest logit of a pair that is kept.
        device: Where the model is.

    Raises:
        CheckpointError: the model gives scores that are not finite.
    """
    begun = time.perf_counter()
    encoded = EncodedProteins(model=model, states=encode_all(model, features), device=device)
    grid = PairGrid(shared=len(proteins), include_self=include_self)
    pairs, kept_logits = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    screen = Screen(encoded, grid)
    with Progress(grid.pairs) as progress:
        for number in range(len(grid.blocks)):
            ends, logits = screen.reaching(number, least)
            pairs.append(np.stack([proteins_of.cpu().numpy() for proteins_of in ends], axis=1))
            kept_logits.append(logits.float().cpu().numpy())
            progress.advance(grid.pairs_in(number))
    return PredictedPairs(
        proteins=proteins,
        pairs=np.concatenate(pairs),
        logits=np.concatenate(kept_logits),
        least=least,
        scored=grid.pairs,
        seconds=time.perf_counter() - begun,
    )
