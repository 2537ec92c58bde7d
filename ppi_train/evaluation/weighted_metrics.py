"""The pair metrics of weighted pairs, for the bootstrap.

The bootstrap spends most of its time here. The scores are sorted once; a resample is a whole number for each
pair, in that order, and all metrics follow from its cumulative sums. Weights of one give the values of
`pair_metrics`, and other weights those of repeated rows.

Legend of shapes: n pairs from the highest score to the lowest, p of them positive.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.base_rate import BASE_RATES
from ppi_train.evaluation.pair_metrics import (
    CALIBRATION_BINS,
    FALSE_RATE,
    INNER_EDGES,
    LOG_FLOOR,
    RATE_SLACK,
    RECALLS,
    THRESHOLD,
    Floats,
    Labels,
)
from ppi_train.evaluation.ranking import negative_weight

Weights = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]

_EDGES = np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS


class _Sums(NamedTuple):
    """Sums of weights, from the highest score down.

    `calls` (n + 1,) is the weight of all pairs before a position, `hits` (p + 1,) that of the positive pairs
    before one of them. For each of the p positive pairs, `gained` is its weight, `above` and `found` are
    those of all pairs and of the positive ones with its score or a higher one, and `precision` is the share
    of `found`.
    """

    calls: Weights
    hits: Weights
    gained: Floats
    above: Weights
    found: Weights
    precision: Floats

    @property
    def positives(self) -> int:
        return int(self.hits[-1])

    @property
    def negatives(self) -> int:
        return int(self.calls[-1]) - self.positives


class WeightedRanking:
    """Computes `auroc` and `auprc` of weighted pairs, for scores of any kind.

    Args:
        scores: (n,) in any order, finite.
        labels: (n,) of both classes.

    Attributes:
        order: (n,) positions of the pairs from the highest score to the lowest, in which weights are given.
    """

    def __init__(self, scores: npt.NDArray[Any], labels: Labels) -> None:
        self.order: Positions = np.argsort(scores)[::-1]
        ordered, positive = scores[self.order], labels[self.order] == 1
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        # where each group begins, and the last one ends; and how many positive pairs are before each position
        self._bounds: Positions = np.append(starts, len(ordered))
        self._hits_before = _running(positive)
        self._positive: Positions = np.flatnonzero(positive)
        self._tied = len(starts) < len(ordered)
        # of the group of each positive pair
        group = np.searchsorted(starts, self._positive, side="right")
        self._begins, self._ends = self._bounds[group - 1], self._bounds[group]
        self._hits_at_begin, self._hits_at_end = (self._hits_before[at] for at in (self._begins, self._ends))

    def __call__(self, weights: Weights) -> dict[str, float]:
        """The metrics by name.

        Args:
            weights: (n,) in the order of `order`; both classes have a weight above zero.
        """
        return self._areas(self._sums(weights))

    def average_precision_at(self, weights: Weights, base_rate: float) -> float:
        """The average precision at another share of positive pairs; see `Ranking.average_precision_at`.

        Args:
            weights: As in a call.
            base_rate: The share, between 0 and 1.
        """
        return _average_precision_at(self._sums(weights), base_rate)

    def _sums(self, weights: Weights) -> _Sums:
        gained = weights[self._positive]
        calls, hits = _running(weights), _running(gained)
        found = hits[self._hits_at_end] if self._tied else hits[1:]
        above = calls[self._ends]
        # no pair is called at scores above all drawn ones; they add no positives, so that any divisor will do
        precision = found / np.maximum(above, 1)
        return _Sums(calls, hits, gained.astype(np.float64), above, found, precision)

    def _areas(self, sums: _Sums) -> dict[str, float]:
        """AUROC is exact where its numerator is below 2**53; AUPRC has a threshold at each score."""
        gained = sums.gained
        wrong = float(gained @ (sums.above - sums.found))
        if self._tied:  # of the negative pairs with the score of a positive one, half count as above it
            before = sums.calls[self._begins] - sums.hits[self._hits_at_begin]
            wrong = (wrong + float(gained @ before)) / 2
        return {
            "auroc": 1 - wrong / (sums.positives * sums.negatives),
            "auprc": float(gained @ sums.precision) / sums.positives,
        }


def _running(values: npt.NDArray[Any]) -> Weights:
    """The sums (n + 1,) of what is before each position of values (n,)."""
    sums = np.empty(len(values) + 1, np.int64)
    sums[0] = 0
    np.cumsum(values, out=sums[1:])
    return sums


class WeightedPairMetrics(WeightedRanking):
    """Computes every metric of weighted pairs, by the names of `pair_metrics`.

    Args:
        probabilities: (n,) in any order. What depends on them alone is computed once.
        labels: (n,) of both classes.
        logits: (n,) those of the probabilities, for the metrics of the ranking, whose order probabilities of
            0 and 1 lose; None: the probabilities themselves.
    """

    def __init__(self, probabilities: Floats, labels: Labels, *, logits: Floats | None = None) -> None:
        super().__init__(probabilities if logits is None else logits, labels)
        self._values = values = probabilities[self.order]
        truth = labels[self.order]
        starts = self._bounds[:-1]
        # of pairs of equal probability, for bins of equal weight
        self._levels = self._bounds
        if logits is not None:
            self._levels = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1], [True])))
        ascending = values[starts][::-1]
        self._called = self._bounds[len(starts) - np.searchsorted(ascending, THRESHOLD, side="left")]
        bins = len(starts) - np.searchsorted(ascending, INNER_EDGES, side="right")[::-1]
        self._bins = self._bounds[bins]
        self._squares = (values - truth) ** 2
        given = np.where(truth == 1, values, 1 - values)
        self._logs = -np.log(np.clip(given, LOG_FLOOR, 1 - LOG_FLOOR))

    def __call__(self, weights: Weights) -> dict[str, float]:
        """The metrics by name; see `WeightedRanking`."""
        sums = self._sums(weights)
        areas, total = self._areas(sums), int(sums.calls[-1])
        real = weights.astype(np.float64)
        expected = real * self._values
        tied = len(self._levels) <= len(weights)
        called = sums.calls[self._levels[1:]] if tied else sums.calls[1:]
        return {
            **areas,
            "auprc_1to100": _average_precision_at(sums, BASE_RATES["1to100"]),
            **{name: _precision_at_recall(sums, recall) for name, recall in RECALLS.items()},
            "recall_at_fpr_1": _recall_at_false_rate(sums, FALSE_RATE),
            **self._at_threshold(sums),
            "brier": float(real @ self._squares) / total,
            "log_loss": float(real @ self._logs) / total,
            "ece": self._gap(sums, expected, self._bins) / total,
            "ece_adaptive": self._gap(sums, expected, self._levels[_equal_bins(called)]) / total,
        }

    def _at_threshold(self, sums: _Sums) -> dict[str, float]:
        """Accuracy, F1 and Matthews correlation."""
        called, true_pos = float(sums.calls[self._called]), float(sums.hits[self._hits_before[self._called]])
        positives, negatives = float(sums.positives), float(sums.negatives)
        false_pos, total = called - true_pos, positives + negatives
        true_neg, false_neg = negatives - false_pos, positives - true_pos
        spread = np.sqrt(called * (total - called)) * np.sqrt(positives * negatives)
        return {
            "accuracy": (true_pos + true_neg) / total,
            "f1": 2 * true_pos / (called + positives),
            # if all pairs get the same call, the correlation is 0, as in sklearn
            "mcc": float((true_pos * true_neg - false_pos * false_neg) / spread) if spread else 0.0,
        }

    def _gap(self, sums: _Sums, expected: Floats, bins: Positions) -> float:
        """The sum over bins of |expected - observed positives|.

        Args:
            sums: Has the observed ones.
            expected: (n,) the probability of each pair, times its weight.
            bins: The positions at which a bin begins, ascending, without the first one.
        """
        ends = np.concatenate(([0], bins, [len(expected)]))
        # of a bin without pairs `reduceat` would give the first pair of the next one
        ends = ends[np.concatenate(([True], ends[1:] > ends[:-1]))]
        observed = np.diff(sums.hits[self._hits_before[ends]])
        return float(np.abs(np.add.reduceat(expected, ends[:-1]) - observed).sum())


def _before(sums: npt.NDArray[Any], ends: Positions) -> npt.NDArray[Any]:
    """The sum of what is before each position."""
    return np.where(ends > 0, sums[ends - 1], 0)


def _average_precision_at(sums: _Sums, base_rate: float) -> float:
    """The average precision at another share of positive pairs."""
    weight = negative_weight(base_rate, sums.positives, sums.negatives)
    # per called pair, now and at the other share; in place, since this is done for each resample
    called = 1 - sums.precision
    called *= weight
    called += sums.precision
    return float(sums.gained @ np.divide(sums.precision, called, out=called)) / sums.positives


def _precision_at_recall(sums: _Sums, recall: float) -> float:
    """Precision at the highest threshold that reaches the recall."""
    # whole numbers: of others `searchsorted` would make a copy of the sums
    place = np.searchsorted(sums.found, math.ceil((recall - RATE_SLACK) * sums.positives))
    return float(sums.found[place] / sums.above[place])


def _recall_at_false_rate(sums: _Sums, rate: float) -> float:
    """Recall at the lowest threshold within the false positive rate."""
    # `above - found` never falls from one score to the next
    most = math.floor((rate + RATE_SLACK) * sums.negatives)
    kept = np.searchsorted(sums.above - sums.found, most, side="right")
    return float(sums.found[kept - 1] / sums.positives) if kept else 0.0


def _equal_bins(called: Weights) -> Positions:
    """The groups at which bins of equal weight begin; a group is in the bin of its middle."""
    total = int(called[-1])
    edges = _EDGES[::-1] * total  # from the lowest score up
    whole = np.floor(total - edges).astype(np.int64)
    near = np.minimum(np.searchsorted(called, whole, side="right"), len(called) - 1)

    def is_above(groups: Positions) -> npt.NDArray[np.bool_]:
        middle = (called[groups] + _before(called, groups)) / 2
        return np.asarray(total - middle >= edges)

    previous = np.maximum(near - 1, 0)
    return np.asarray(np.where(is_above(near), near + 1, np.where(is_above(previous), near, previous)))
