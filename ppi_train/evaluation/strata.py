"""How well parts of a test set are ranked: a single number over all pairs hides which of them are easy.

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
    """Part of the pairs.

    Attributes:
        by: What the pairs are divided by: `proteins_seen`, `length` or `degree`.
        name: Unique among all strata, as it stands in the names of metrics, such as `c3`.
        label: The same for people.
        rows: (n,) which pairs.
    """

    by: str
    name: str
    label: str
    rows: Rows


@dataclass(frozen=True, kw_only=True)
class StratumMetrics:
    """A stratum's size and ranking metrics with their 95% intervals, nan where it has one class only."""

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
    """Pairs by how many of their proteins, (n,) of 2, 1 and 0, a training pair has.

    The classes of Park & Marcotte 2012, "Flaws in evaluation schemes for pair-input computational
    predictions", Nature Methods 9.
    """
    return [
        Stratum(by="proteins_seen", name=name, label=label, rows=seen == count)
        for name, (count, label) in _SEEN.items()
    ]


def strata_by_length(lengths: npt.NDArray[Any]) -> list[Stratum]:
    """Pairs by the residues of their longer protein, (n,), at `LENGTHS`.

    The longer one, since it is what truncation and memory are about; at fixed lengths, so that the strata
    of two test sets compare.
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
    """Pairs in thirds by the degrees (n, 2) of their proteins, as the product of both, one added to each.

    It is the order of the degree baseline: what a model has learned of hubs alone shows in the whole, and
    falls away within a third. Pairs of one product are in one third, that of their middle, so that thirds may
    differ in size.

    Args:
        degrees: From training, where that is known; else from the test set, see `degrees_without`.
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
    """Degrees of both proteins of each pair, (n, 2), in the network of all the other positive pairs.

    Without the pair itself: with it, the label would be part of what the pairs are divided by.

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
    """Ranks the pairs of each stratum; empty ones are left out.

    Args:
        strata: Of the n pairs.
        scores: (n,) logits or probabilities.
        labels: (n,) 0 or 1.
        pairs: (n, 2) numbers of proteins.
        resamples: Behind each interval; 0 leaves them out, as nan.
        seed: Of the resamples.

    Raises:
        DataError: shapes differ, or a score is not finite.
    """
    return [
        _measured(one, scores, labels, pairs, resamples=resamples, seed=seed)
        for one in strata
        if one.rows.any()
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
    """`auroc`, `auprc` and `pairs` of each stratum, as `auroc_c3`; without those that are not defined."""
    metrics: dict[str, float] = {}
    for one in measured:
        metrics[f"pairs_{one.name}"] = float(one.pairs)
        if 0 < one.positives < one.pairs:
            metrics |= {f"auroc_{one.name}": one.auroc, f"auprc_{one.name}": one.auprc}
    return metrics
