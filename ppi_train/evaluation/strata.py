"""Ranking metrics on strata of a test set.

A single number over all pairs hides which of them are easy.

Legend of shapes: n pairs, p proteins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.bootstrap import ranking_intervals
from ppi_train.evaluation.pair_metrics import ranking_metrics

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
        values = ranking_metrics(chosen, truth)
        if resamples:
            ends = ranking_intervals(chosen, truth, pairs[stratum.rows], resamples=resamples, seed=seed)
            for name, (low, high) in ends.items():
                values |= {f"{name}_low": low, f"{name}_high": high}
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
