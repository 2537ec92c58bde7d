"""Metrics of scored pairs, overall and by stratum."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.data.pairs import PairTable
from ppi_train.evaluation.bootstrap import bootstrap_intervals
from ppi_train.evaluation.pair_metrics import BOUNDS, pair_metrics, probability_metrics, sigmoid
from ppi_train.evaluation.strata import (
    Stratum,
    StratumMetrics,
    degrees_without,
    measure_strata,
    strata_by_degree,
    strata_by_length,
    strata_by_proteins_seen,
    strata_metrics,
)
from ppi_train.io.files import write_file
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MeasuredPairs:
    """Metrics of a scored table.

    `metrics` are by name, with `_ci_low` and `_ci_high`. They include the metrics of the strata, which
    `strata` has as a table.
    """

    metrics: Mapping[str, float]
    strata: Sequence[StratumMetrics]

    def prefixed(self, prefix: str) -> dict[str, float]:
        """The metrics with a prefix, as a run logs them."""
        return {f"{prefix}/{name}": value for name, value in self.metrics.items()}

    def strata_text(self) -> str:
        """The strata as TSV; undefined values are empty."""
        header = [field.name for field in dataclasses.fields(StratumMetrics)]
        rows = [[_cell(value) for value in dataclasses.astuple(stratum)] for stratum in self.strata]
        return "".join("\t".join(line) + "\n" for line in (header, *rows))


def measure_pairs(
    table: PairTable,
    logits: np.ndarray,
    *,
    resamples: int,
    seed: int,
    lengths: Mapping[str, int] | None = None,
    seen: np.ndarray | None = None,
    degrees: np.ndarray | None = None,
) -> MeasuredPairs:
    """Metrics of scored pairs, with confidence intervals and strata.

    A table of one class gets only the metrics that are defined for it, without intervals or strata.

    Args:
        table: Labelled pairs.
        logits: (n,) finite.
        resamples: Number of bootstrap resamples; 0: no intervals.
        seed: Seed of the resamples.
        lengths: Residues of each protein, for strata by length.
        seen: (n,) how many of the two proteins are in training, for strata by that number.
        degrees: (n, 2) degrees of both proteins in training; None uses those in the table itself.

    Raises:
        DataError: a score is not finite.
    """
    if table.positives in (0, len(table)):
        return MeasuredPairs(metrics=_of_one_class(table, logits), strata=())
    metrics = metrics_with_intervals(table, logits, resamples=resamples, seed=seed)
    strata = _strata(table, lengths=lengths, seen=seen, degrees=degrees)
    measured = measure_strata(
        strata, logits, table.required_labels, table.index, resamples=resamples, seed=seed
    )
    return MeasuredPairs(metrics=metrics | strata_metrics(measured), strata=measured)


def _cell(value: object) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else str(value)


def metrics_with_intervals(
    table: PairTable, logits: np.ndarray, *, resamples: int, seed: int
) -> dict[str, float]:
    """Pair metrics by name, with confidence intervals.

    The ends of each interval are `<name>_ci_low` and `<name>_ci_high`.

    Args:
        table: Labelled pairs of both classes.
        logits: (n,) finite.
        resamples: Number of bootstrap resamples; 0: no intervals.
        seed: Seed of the resamples.

    Raises:
        DataError: the pairs have one class only, or a score is not finite.
    """
    labels = table.required_labels
    metrics = pair_metrics(logits, labels, are_logits=True)
    if resamples:
        ends = bootstrap_intervals(sigmoid(logits), labels, table.index, resamples=resamples, seed=seed)
        for name, (low, high) in ends.items():
            metrics |= {f"{name}_ci_low": low, f"{name}_ci_high": high}
    return metrics


def log_strata(measured: MeasuredPairs, tracked: TrackedRun, output: Path) -> None:
    """Uploads the table of the strata, if there are any."""
    if measured.strata:
        path = output / "strata.tsv"
        write_file(path, measured.strata_text().encode())
        tracked.log_file(path)


def _of_one_class(table: PairTable, logits: np.ndarray) -> dict[str, float]:
    metrics = probability_metrics(sigmoid(logits), table.required_labels)
    logger.warning(
        "%s has %s interacting and %s non-interacting pairs: one class has no %s, intervals or strata",
        table.source, f"{table.positives:,}", f"{len(table) - table.positives:,}",
        ", ".join(name for name in BOUNDS if name not in metrics),
    )  # fmt: skip
    return metrics


def _strata(
    table: PairTable,
    *,
    lengths: Mapping[str, int] | None,
    seen: np.ndarray | None,
    degrees: np.ndarray | None,
) -> list[Stratum]:
    strata: list[Stratum] = []
    if seen is not None:
        strata += strata_by_proteins_seen(seen)
    if lengths is not None:
        residues = np.array([lengths[protein] for protein in table.proteins])
        strata += strata_by_length(residues[table.index].max(axis=1))
    if degrees is None:
        degrees = degrees_without(table.index, table.required_labels)
    return strata + strata_by_degree(degrees)
