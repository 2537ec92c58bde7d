"""Confidence intervals of the pair metrics: the percentile bootstrap over pairs.

Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13: n pairs are drawn with
replacement from the n pairs, the metrics computed, and this repeated; the interval lies between two
quantiles of the results. Pairs that share a protein are not independent, so that the interval is a
lower bound on the uncertainty over new proteins.

A thousand resamples of 50,000 pairs are affordable since nothing is sorted twice. All metrics depend
only on how often each (distinct score, label) occurs in a resample, so that the scores are sorted and
grouped once, and each resample is a count per group and class.

Legend of shapes: n pairs, g groups of equal score in ascending order, r resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import INNER_EDGES, THRESHOLD, Floats, Labels, checked_probabilities

Codes = npt.NDArray[np.intp]

METRICS = ("auroc", "auprc", "accuracy", "f1", "mcc", "brier", "ece")
_CELLS_AT_ONCE = 1 << 17  # counts per chunk: 1 MiB of float64 stays near the processor, and bounds memory


@dataclass(frozen=True, kw_only=True)
class ScoreGroups:
    """Pairs grouped by equal score.

    Attributes:
        values: (g,) the distinct probabilities, ascending.
        codes: (n,) the place of each pair in a flat (2, g) table of counts: label times g, plus group.
    """

    values: Floats
    codes: Codes

    @classmethod
    def of(cls, probabilities: Floats, labels: Labels) -> ScoreGroups:
        """Groups checked probabilities (n,) with their labels (n,)."""
        values, group = np.unique(probabilities, return_inverse=True)
        return cls(values=values, codes=group + labels.astype(np.intp) * values.size)

    def counts(self, codes: Codes) -> Floats:
        """How often each (label, group) occurs among codes, (2, g)."""
        table = np.bincount(codes, minlength=2 * self.values.size)
        return table.reshape(2, self.values.size).astype(np.float64)


def bootstrap_intervals(
    probabilities: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Computes the interval of each pair metric; 1,000 resamples of 52,000 pairs take a few seconds.

    A resample without one of the classes has no AUROC; it is drawn again, so that the intervals are
    conditional on both classes being there (this matters only for a handful of pairs).

    Args:
        probabilities: (n,) between 0 and 1.
        labels: (n,) 0 or 1.
        resamples: How many times the pairs are drawn.
        confidence: Share of the resamples between the two ends.
        seed: The same seed gives the same intervals.

    Returns:
        Lower and upper end by metric, the names of `pair_metrics`.

    Raises:
        DataError: As `pair_metrics`.
    """
    assert resamples > 0, resamples
    assert 0 < confidence < 1, confidence
    groups = ScoreGroups.of(*checked_probabilities(probabilities, labels))
    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS_AT_ONCE // (2 * groups.values.size))
    results = [
        metrics_of_counts(groups.values, np.stack([_draw(groups, rng) for _ in range(size)]))
        for size in _chunk_sizes(resamples, chunk)
    ]
    tail = (1 - confidence) / 2
    ends = {
        name: np.quantile(np.concatenate([one[name] for one in results]), (tail, 1 - tail))
        for name in METRICS
    }
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def metrics_of_counts(values: Floats, counts: Floats) -> dict[str, Floats]:
    """Computes every metric of several weighted samples that share their scores.

    Args:
        values: (g,) distinct probabilities, ascending.
        counts: (r, 2, g) weight of the negative and of the positive pairs of each score; both classes
            have a weight above zero in each sample.

    Returns:
        An array (r,) by metric.
    """
    negatives, positives = counts[:, 0], counts[:, 1]
    totals = counts.sum(axis=(1, 2))
    # not a matrix product: its threads may add in another order, and here cost more than they save
    errors = np.einsum("rg,g->r", negatives, values**2) + np.einsum("rg,g->r", positives, (1 - values) ** 2)
    return {
        "auroc": weighted_auroc(negatives, positives),
        "auprc": weighted_average_precision(negatives, positives),
        **_threshold_metrics(values, negatives, positives),
        "brier": errors / totals,
        "ece": _calibration_error(values, negatives, positives) / totals,
    }


def weighted_auroc(negatives: Floats, positives: Floats) -> Floats:
    """Chance that a positive pair scores above a negative one, ties counting half.

    The numerator is a sum of integers and halves for integer weights, so that it is exact below 2**53.

    Args:
        negatives: (r, g) weight of negative pairs per distinct score, ascending.
        positives: (r, g) the same of positive pairs.

    Returns:
        (r,)
    """
    up_to = np.cumsum(negatives, axis=-1)
    total = up_to[..., -1].copy()
    up_to -= negatives / 2  # of the negatives with the same score, half are taken as below
    wins = np.einsum("...g,...g->...", positives, up_to)
    return np.asarray(wins / (total * positives.sum(axis=-1)))


def weighted_average_precision(negatives: Floats, positives: Floats) -> Floats:
    """Mean precision over the positives, one threshold per distinct score, without interpolation.

    Args:
        negatives: (r, g) weight of negative pairs per distinct score, ascending.
        positives: (r, g) the same of positive pairs.

    Returns:
        (r,)
    """
    found = np.cumsum(positives[..., ::-1], axis=-1)
    called = found + np.cumsum(negatives[..., ::-1], axis=-1)
    # scores above all that were drawn call nothing; they add no positives, so that any divisor will do
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    gained = np.einsum("...g,...g->...", positives[..., ::-1], precision)
    return np.asarray(gained / found[..., -1])


def _draw(groups: ScoreGroups, rng: np.random.Generator) -> Floats:
    """One resample that holds both classes, as counts (2, g)."""
    size = groups.codes.size
    while True:
        # indices drawn one by one and counted are the exact multinomial, and faster than drawing it
        counts = groups.counts(groups.codes[rng.integers(0, size, size)])
        if counts.any(axis=1).all():
            return counts


def _threshold_metrics(values: Floats, negatives: Floats, positives: Floats) -> dict[str, Floats]:
    """Accuracy, F1 and Matthews correlation at the threshold, each (r,)."""
    first = int(np.searchsorted(values, THRESHOLD, side="left"))
    true_pos, false_neg = positives[:, first:].sum(axis=1), positives[:, :first].sum(axis=1)
    false_pos, true_neg = negatives[:, first:].sum(axis=1), negatives[:, :first].sum(axis=1)
    right = true_pos + true_neg
    wrong = false_pos + false_neg
    spread = np.sqrt(true_pos + false_pos) * np.sqrt(true_neg + false_neg)
    spread *= np.sqrt(true_pos + false_neg) * np.sqrt(true_neg + false_pos)
    covariance = true_pos * true_neg - false_pos * false_neg
    return {
        "accuracy": right / (right + wrong),
        "f1": 2 * true_pos / (2 * true_pos + wrong),
        # where all pairs are called alike the correlation is 0, as sklearn has it
        "mcc": np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0),
    }


def _calibration_error(values: Floats, negatives: Floats, positives: Floats) -> Floats:
    """Sum over bins of |expected - observed positives|, (r,); the scores of a bin are contiguous."""
    surplus = (negatives + positives) * values - positives
    starts = np.searchsorted(values, INNER_EDGES, side="right")  # the first score above each edge
    starts = np.union1d([0], starts[starts < values.size])
    return np.asarray(np.abs(np.add.reduceat(surplus, starts, axis=1)).sum(axis=1))


def _chunk_sizes(total: int, largest: int) -> Iterator[int]:
    for start in range(0, total, largest):
        yield min(largest, total - start)
