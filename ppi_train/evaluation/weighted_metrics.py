"""The pair metrics of many weighted samples at once, for the bootstrap.

The bootstrap spends most of its time here. All metrics depend only on the weight of each (distinct score,
label), so that the scores are sorted and grouped once, and a resample is a weight per group and class.
Weights of one give the values of `pair_metrics`, and whole weights those of repeated rows.

Legend of shapes: n pairs, g groups of equal score in ascending order, r samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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

Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class ScoreGroups:
    """Pairs grouped by equal score.

    Attributes:
        values: (g,) the distinct scores, ascending.
        codes: (n,) the position of each pair in a flat (2, g) table of counts: label times g, plus group.
    """

    values: Floats
    codes: Codes

    @classmethod
    def of(cls, scores: Floats, labels: Labels) -> ScoreGroups:
        """Groups checked scores (n,) with their labels (n,)."""
        values, group = np.unique(scores, return_inverse=True)
        return cls(values=values, codes=group + labels.astype(np.intp) * values.size)

    def counts(self, weights: Floats | None = None) -> Floats:
        """The total weight (2, g) of each label and group.

        The pairs have the given weights (n,), or the weight 1 each.
        """
        table = np.bincount(self.codes, weights=weights, minlength=2 * self.values.size)
        return table.reshape(2, self.values.size).astype(np.float64, copy=False)


class WeightedPairMetrics:
    """Computes every metric of weighted samples that share their scores.

    Args:
        values: (g,) distinct probabilities, ascending. What depends on them alone is computed once.
    """

    def __init__(self, values: Floats) -> None:
        self._values = values
        self._first_called = int(np.searchsorted(values, THRESHOLD, side="left"))
        self._starts = np.searchsorted(values, INNER_EDGES, side="right")
        inside = np.clip(values, LOG_FLOOR, 1 - LOG_FLOOR)
        # of a negative and of a positive pair
        self._squares = values**2, (1 - values) ** 2
        self._logs = -np.log(1 - inside), -np.log(inside)

    def __call__(self, counts: Floats) -> dict[str, Floats]:
        """Computes an array (r,) for each metric, by the names of `pair_metrics`.

        Args:
            counts: (r, 2, g) weight of the negative and of the positive pairs of each score; both classes
                have a weight above zero in each sample.
        """
        ranked = RankedWeights.of(counts)
        at_recall = {name: ranked.precision_at_recall(recall) for name, recall in RECALLS.items()}
        return {
            "auroc": ranked.auroc(),
            "auprc": ranked.average_precision(),
            **at_recall,
            "recall_at_fpr_1": ranked.recall_at_false_rate(FALSE_RATE),
            **self._at_threshold(counts),
            **self._of_probabilities(counts),
        }

    def _at_threshold(self, counts: Floats) -> dict[str, Floats]:
        """Accuracy, F1 and Matthews correlation, each (r,)."""
        first = self._first_called
        (true_neg, false_neg), (false_pos, true_pos) = (
            part.sum(axis=2).T for part in (counts[:, :, :first], counts[:, :, first:])
        )
        right = true_pos + true_neg
        wrong = false_pos + false_neg
        spread = np.sqrt(true_pos + false_pos) * np.sqrt(true_neg + false_neg)
        spread *= np.sqrt(true_pos + false_neg) * np.sqrt(true_neg + false_pos)
        covariance = true_pos * true_neg - false_pos * false_neg
        return {
            "accuracy": right / (right + wrong),
            "f1": 2 * true_pos / (2 * true_pos + wrong),
            # if all pairs get the same call, the correlation is 0, as in sklearn
            "mcc": np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0),
        }

    def _of_probabilities(self, counts: Floats) -> dict[str, Floats]:
        """Brier score, log loss and both calibration errors, each (r,)."""
        pairs = counts[:, 0] + counts[:, 1]
        totals = pairs.sum(axis=1)
        surplus = pairs * self._values - counts[:, 1]
        return {
            "brier": _weighed(counts, self._squares) / totals,
            "log_loss": _weighed(counts, self._logs) / totals,
            "ece": _binned(surplus, self._starts) / totals,
            "ece_adaptive": _adaptive(surplus, pairs, totals) / totals,
        }


def ranking_of_counts(counts: Floats) -> dict[str, Floats]:
    """Computes `auroc` and `auprc` alone, for scores of any kind.

    The counts are those of `WeightedPairMetrics`.
    """
    ranked = RankedWeights.of(counts)
    return {"auroc": ranked.auroc(), "auprc": ranked.average_precision()}


@dataclass(frozen=True, kw_only=True)
class RankedWeights:
    """Weights from the highest score to the lowest, each array (r, g).

    `found` is the weight of the positive pairs at a score or above, `called` that of all pairs.
    """

    negatives: Floats
    positives: Floats
    found: Floats
    called: Floats

    @classmethod
    def of(cls, counts: Floats) -> RankedWeights:
        """Takes counts (r, 2, g) in ascending order of the score."""
        negatives, positives = counts[:, 0, ::-1], counts[:, 1, ::-1]
        found = np.cumsum(positives, axis=1)
        called = np.cumsum(negatives, axis=1)
        called += found
        return cls(negatives=negatives, positives=positives, found=found, called=called)

    def auroc(self) -> Floats:
        """The area under the ROC curve (r,).

        The chance that a positive pair scores above a negative one, ties counting half. The numerator is a
        sum of integers and halves for integer weights, so that it is exact below 2**53.
        """
        above = self.found - self.positives / 2  # of the positives with the same score, half are taken
        wins = np.einsum("rg,rg->r", self.negatives, above)
        total = self.found[:, -1]
        return np.asarray(wins / (total * (self.called[:, -1] - total)))

    def average_precision(self) -> Floats:
        """Mean precision (r,) over the positives, without interpolation.

        There is a threshold at each distinct score.
        """
        # no pair is called at scores above all drawn ones; they add no positives, so that any divisor will do
        precision = np.divide(self.found, self.called, out=np.zeros_like(self.found), where=self.called > 0)
        return np.asarray(np.einsum("rg,rg->r", self.positives, precision) / self.found[:, -1])

    def precision_at_recall(self, recall: float) -> Floats:
        """Precision (r,) at the highest threshold that reaches the recall."""
        wanted = (recall - RATE_SLACK) * self.found[:, -1:]
        first = (self.found >= wanted).argmax(axis=1)[:, None]
        found, called = (
            np.take_along_axis(weights, first, axis=1)[:, 0] for weights in (self.found, self.called)
        )
        return np.asarray(found / called)

    def recall_at_false_rate(self, rate: float) -> Floats:
        """Recall (r,) at the lowest threshold within the false positive rate."""
        false = self.called - self.found
        most = (rate + RATE_SLACK) * false[:, -1:]
        # `false` never falls from one score to the next
        kept = np.count_nonzero(false <= most, axis=1)[:, None]
        found = np.take_along_axis(self.found, np.maximum(kept - 1, 0), axis=1)
        return np.asarray(np.where(kept > 0, found, 0.0)[:, 0] / self.found[:, -1])


def _weighed(counts: Floats, costs: tuple[Floats, Floats]) -> Floats:
    """Weighted sum (r,) of the costs of negative and positive pairs."""
    # not a matrix product: its threads may add in a different order, and here cost more than they save
    of_class = [np.einsum("rg,g->r", counts[:, label], cost) for label, cost in enumerate(costs)]
    return np.asarray(of_class[0] + of_class[1])


def _adaptive(surplus: Floats, pairs: Floats, totals: Floats) -> Floats:
    """Sum over bins of equal weight of |expected - observed positives|, (r,)."""
    middles = np.cumsum(pairs, axis=1)
    middles -= pairs / 2
    edges = np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS
    gaps = [
        _binned(sample[None], np.searchsorted(below, edges * total))[0]
        for sample, below, total in zip(surplus, middles, totals, strict=True)
    ]
    return np.array(gaps)


def _binned(surplus: Floats, starts: Codes) -> Floats:
    """Sum (r,) over bins of the absolute summed surplus.

    A bin begins at each of `starts`, and at 0.
    """
    filled = np.union1d([0], starts[starts < surplus.shape[1]])
    return np.asarray(np.abs(np.add.reduceat(surplus, filled, axis=1)).sum(axis=1))
