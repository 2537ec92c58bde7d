"""What a scan scores, and which pairs it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.scan import EncodedProteins, Scan
from ppi_train.inference.threshold_scan import ThresholdScan
from ppi_train.inference.top_scan import TopScan


@dataclass(frozen=True, kw_only=True)
class ScanPlan:
    """Which pairs are scored, and which of them are kept.

    Attributes:
        pairs: The pairs to score.
        best: Partners kept of each protein, or of each query; None: pairs are not ranked.
        ranks: (proteins,) int64, the order of proteins of equal scores; None if pairs are not ranked.
        queries: How many proteins, from the first on, have their partners ranked; None: all.
        min_probability: Pairs below it are not kept; None: all are.
        uncertainty: Whether to give the standard deviation of each logit.
    """

    pairs: PairGrid | PairList
    best: int | None = None
    ranks: np.ndarray | None = None
    queries: int | None = None
    min_probability: float | None = None
    uncertainty: bool = False

    def scan(self, encoded: EncodedProteins) -> Scan:
        """The scan over encoded proteins."""
        if self.best is None or not isinstance(self.pairs, PairGrid):
            return ThresholdScan(
                encoded, self.pairs, min_probability=self.min_probability, uncertainty=self.uncertainty
            )
        return TopScan(
            encoded,
            self.pairs,
            self.best,
            ranks=self.ranks,
            queries=self.queries,
            min_probability=self.min_probability,
            uncertainty=self.uncertainty,
        )
