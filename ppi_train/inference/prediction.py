"""What a prediction is asked for, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ppi_train.inference.output import Annotations
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scan_plan import ScanPlan

# To be increased when the rows of a table, or the tasks of a scan, change for the same inputs.
_VERSION = 6


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Pairs to score, and options of the output.

    Attributes:
        output: Path of the table; its suffix gives the format.
        folder: Whether the output is a folder of Parquet parts with a manifest.
        edges: Path of the network; None for no network.
        overwrite: Whether existing files are replaced.
        proteins: Accessions by number.
        pairs: The pairs to score.
        queries: How many proteins, from the first on, have their partners ranked; None: the pairs are in no
            order of their scores, except with `top_k`.
        top_k: Partners kept of each protein, or of each query; None: all.
        min_probability: Pairs below this probability are not kept; None: all are.
        uncertainty: Whether to write the standard deviation of the logit, if the model has one.
        annotations: What is known of the proteins and pairs, for further columns.
        origin: Digests, by name, of everything else that the scores depend on.
        about: Further metadata of the table.
    """

    output: Path
    folder: bool = False
    edges: Path | None = None
    overwrite: bool = False
    proteins: tuple[str, ...]
    pairs: PairGrid | PairList
    queries: int | None = None
    top_k: int | None = None
    min_probability: float | None = None
    uncertainty: bool = True
    annotations: Annotations = field(default_factory=Annotations)
    origin: Mapping[str, object] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def job(self) -> dict[str, object]:
        """Everything that determines the rows of the table."""
        grid = self.pairs if isinstance(self.pairs, PairGrid) else None
        return {
            **self.origin,
            "version": _VERSION,
            "top_k": self.top_k if grid else None,
            "queries": self.queries,
            "excluded": grid.excluded.digest if grid and grid.excluded else None,
            "min_probability": self.min_probability,
            "include_self": grid.include_self if grid else None,
            "uncertainty": self.uncertainty,
            "block": grid.side if grid else None,
        }

    @property
    def best_of_each(self) -> int | None:
        """Number of partners that are ranked of each protein or query; None: the pairs are not ranked."""
        if not isinstance(self.pairs, PairGrid):
            return None
        return self.top_k or (None if self.queries is None else len(self.proteins))

    @property
    def keeps_all(self) -> bool:
        return not self.min_probability and self.best_of_each is None

    def plan(self, encoded: EncodedProteins) -> ScanPlan:
        """What is scored and kept."""
        best = self.best_of_each
        # Two lists have their numbers list by list, and not in the order of accessions.
        ranks = None if best is None else np.argsort(np.argsort(np.array(self.proteins, dtype=object)))
        return ScanPlan(
            pairs=self.pairs,
            best=best,
            ranks=ranks,
            queries=self.queries,
            min_probability=self.min_probability,
            uncertainty=self.uncertainty and encoded.have_uncertainty(len(self.proteins)),
        )


@dataclass(frozen=True, kw_only=True)
class PredictionCounts:
    """Counts of a finished prediction, and the duration of scoring.

    Attributes:
        pairs: The pairs that were scored, of which `scored` since this process began.
        tasks: How many tasks were done since then.
        kept: Rows of the table.
        marked: How many of the rows have each mark.
        best: The best partners of the first few queries, by the query's number: numbers of the partners, and
            the probabilities.
        highest: (h,) float32, the highest logits of the table, descending; a thousand at most.
        seconds: How long scoring took.
    """

    pairs: int
    scored: int
    tasks: int
    kept: int
    marked: Mapping[str, int]
    best: Mapping[int, Sequence[tuple[int, float]]]
    highest: np.ndarray
    seconds: float
