"""The metrics of scored pairs, over all of them and by strata.

A single number over all pairs hides which of them are easy.

Legend of shapes: n pairs, p proteins.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.data.pairs import PairTable
from ppi_train.evaluation.bootstrap import bootstrap_intervals, ranking_estimates
from ppi_train.evaluation.pair_metrics import (
    BOUNDS,
    pair_metrics,
    probability_metrics,
    ranking_metrics,
    sigmoid,
)
from ppi_train.io.files import write_file
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.bool_]

LENGTHS = (250, 500, 1000)
_SEEN = {
    "c1": (2, "both proteins in training (C1)"),
    "c2": (1, "one protein in training (C2)"),
    "c3": (0, "no protein in training (C3)"),
}
_THIRDS = {"low": "least connected third", "middle": "middle third", "high": "most connected third"}


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A part of the pairs.

    Attributes:
        by: What the pairs are divided by: `proteins_seen`, `length` or `degree`.
        name: Unique among all strata, as used in the names of metrics, such as `c3`.
        label: A readable description.
        rows: (n,) whether each pair belongs to the stratum.
    """

    by: str
    name: str
    label: str
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class StratumMetrics:
    """A stratum's size and ranking metrics with their 95% intervals.

    The metrics are nan if the stratum has one class only.
    """

    by: str
    name: str
    label: str
    pairs: int
    positives: int
    auroc: float = nan
    auroc_low: float = nan
    auroc_high: float = nan
    auprc: float = nan
    auprc_low: float = nan
    auprc_high: float = nan


def strata_by_proteins_seen(seen: npt.NDArray[Any]) -> list[Stratum]:
    """Divides pairs by how many of their proteins occur in training.

    `seen` (n,) is 2, 1 or 0. These are the classes of Park & Marcotte 2012, "Flaws in evaluation schemes for
    pair-input computational predictions", Nature Methods 9.
    """
    return [
        Stratum(by="proteins_seen", name=name, label=label, rows=seen == count)
        for name, (count, label) in _SEEN.items()
    ]


def strata_by_length(lengths: npt.NDArray[Any]) -> list[Stratum]:
    """Divides pairs by the length (n,) of their longer protein.

    The longer one, since truncation and memory depend on it; at the fixed lengths of `LENGTHS`, so that the
    strata of two test sets can be compared.
    """
    strata, below = [], 0
    for upper in LENGTHS:
        label = f"{below + 1} to {upper} residues" if below else f"up to {upper} residues"
        rows = (lengths > below) & (lengths <= upper)
        strata.append(Stratum(by="length", name=f"length_to_{upper}", label=label, rows=rows))
        below = upper
    label = f"more than {below} residues"
    return [*strata, Stratum(by="length", name=f"length_over_{below}", label=label, rows=lengths > below)]


def strata_by_degree(degrees: npt.NDArray[Any]) -> list[Stratum]:
    """Divides pairs into thirds by the degrees of their proteins.

    The order is that of the degree baseline, (d1 + 1) (d2 + 1): what a model has learned from hubs alone
    shows in the whole set, and disappears within a third. Pairs with the same product are in the same third,
    that of their middle, so that thirds may differ in size.

    Args:
        degrees: (n, 2) from training, where that is known; else from the test set, see `degrees_without`.
    """
    _, group, pairs = np.unique(
        np.prod(np.asarray(degrees) + 1.0, axis=1), return_inverse=True, return_counts=True
    )
    middle = (np.cumsum(pairs) - pairs / 2) / len(group)
    places = np.floor(len(_THIRDS) * middle).astype(int)[group]
    return [
        Stratum(by="degree", name=f"degree_{name}", label=label, rows=places == place)
        for place, (name, label) in enumerate(_THIRDS.items())
    ]


def degrees_without(pairs: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Degrees (n, 2) of each pair's proteins in the other positive pairs.

    The pair itself is left out: with it, the degrees would depend on the label.

    Args:
        pairs: (n, 2) numbers of proteins, 0 to p - 1.
        labels: (n,) 0 or 1.
    """
    itself = pairs[:, 0] == pairs[:, 1]
    positives = labels == 1
    degrees = np.bincount(pairs[positives].ravel(), minlength=int(pairs.max(initial=-1)) + 1)
    # a protein that interacts with itself has itself as a partner once
    degrees -= np.bincount(pairs[positives & itself, 0], minlength=degrees.size)
    others: npt.NDArray[np.int64] = degrees[pairs] - positives[:, None]
    return others


def measure_strata(
    strata: Iterable[Stratum],
    scores: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    pairs: npt.NDArray[Any],
    *,
    resamples: int,
    seed: int,
) -> list[StratumMetrics]:
    """Computes the ranking metrics of each stratum; empty ones are left out.

    Args:
        strata: Strata of the n pairs.
        scores: (n,) logits or probabilities.
        labels: (n,) 0 or 1.
        pairs: (n, 2) numbers of proteins.
        resamples: Number of resamples for each interval; with 0 the intervals are nan.
        seed: Seed of the resamples.

    Raises:
        DataError: shapes differ, or a score is not finite.
    """
    return [
        _measured(stratum, scores, labels, pairs, resamples=resamples, seed=seed)
        for stratum in strata
        if stratum.rows.any()
    ]


def _measured(
    stratum: Stratum,
    scores: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    pairs: npt.NDArray[Any],
    *,
    resamples: int,
    seed: int,
) -> StratumMetrics:
    chosen, truth = scores[stratum.rows], labels[stratum.rows]
    count, positives = truth.size, int(np.count_nonzero(truth))
    values: dict[str, float] = {}
    if 0 < positives < count:
        if resamples:
            found = ranking_estimates(chosen, truth, pairs[stratum.rows], resamples=resamples, seed=seed)
            for name, (value, low, high) in found.items():
                values |= {name: value, f"{name}_low": low, f"{name}_high": high}
        else:
            values = ranking_metrics(chosen, truth)
    return StratumMetrics(
        by=stratum.by, name=stratum.name, label=stratum.label, pairs=count, positives=positives, **values
    )


def strata_metrics(measured: Iterable[StratumMetrics]) -> dict[str, float]:
    """Metrics of all strata by name, such as `auroc_c3`.

    `auroc`, `auprc` and `pairs` of each stratum; metrics that are not defined are left out.
    """
    metrics: dict[str, float] = {}
    for stratum in measured:
        metrics[f"pairs_{stratum.name}"] = float(stratum.pairs)
        if 0 < stratum.positives < stratum.pairs:
            metrics |= {f"auroc_{stratum.name}": stratum.auroc, f"auprc_{stratum.name}": stratum.auprc}
    return metrics


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
        ends = bootstrap_intervals(
            logits, labels, table.index, are_logits=True, resamples=resamples, seed=seed
        )
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
