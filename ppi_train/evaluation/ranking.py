"""Pairs ranked by their scores, and the curves and areas of the ranking.

scikit-learn has these too, but takes more than a second to import and sorts once for every figure.

Legend of shapes: n pairs, g distinct scores from the highest to the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How many pairs score as high as each distinct score, or higher.

    Attributes:
        scores: (g,) the distinct scores.
        found: (g,) the positive pairs among those that score as high or higher.
        called: (g,) all of these.
    """

    scores: npt.NDArray[Any]
    found: npt.NDArray[np.int64]
    called: npt.NDArray[np.int64]

    @classmethod
    def of(cls, scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Ranking:
        """Ranks pairs with scores (n,) and labels (n,) of 0 or 1."""
        # Two sorts of values and a search are three times as fast as one sort of positions.
        ordered = np.sort(scores)[::-1]
        last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
        distinct, positives = ordered[last], np.sort(scores[labels == 1])
        found = positives.size - np.searchsorted(positives, distinct)
        return cls(scores=distinct, found=found, called=last + 1)

    @classmethod
    def of_sorted(cls, ordered: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Ranking:
        """Ranks pairs whose scores (n,) are in descending order."""
        last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
        return cls(scores=ordered[last], found=np.cumsum(labels, dtype=np.int64)[last], called=last + 1)

    def of_groups(self, scores: npt.NDArray[Any]) -> Ranking:
        """The ranking by other scores (g,) of the distinct ones, in the same order but maybe with ties."""
        last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), scores.size - 1)
        return Ranking(scores=scores[last], found=self.found[last], called=self.called[last])

    @cached_property
    def gained(self) -> npt.NDArray[np.int64]:
        """The positive pairs (g,) of each score."""
        return np.diff(self.found, prepend=0)

    @cached_property
    def missed(self) -> npt.NDArray[np.int64]:
        """The negative pairs (g,) of each score."""
        return np.diff(self.called, prepend=0) - self.gained

    @property
    def _positives(self) -> int:
        return int(self.found[-1])

    @property
    def _false_rates(self) -> Floats:
        false = self.called - self.found
        return np.asarray(false / false[-1])

    def auroc(self) -> float:
        """The area under the ROC curve: the chance of a right order, ties counting half."""
        # Twice the number of pairs in the right order, as integers: exact up to 3e9 pairs.
        right = np.dot(self.missed, 2 * self.found - self.gained)
        return int(right) / (2 * self._positives * int(self.called[-1] - self._positives))

    def average_precision(self) -> float:
        """The area under the precision-recall curve, in steps without interpolation."""
        return float(np.sum(self.gained * (self.found / self.called)) / self._positives)

    def average_precision_at(self, base_rate: float) -> float:
        """The average precision that the same scores have at another share of positive pairs.

        With the true and false positive rates of a threshold, its precision is
        base_rate * tpr / (base_rate * tpr + (1 - base_rate) * fpr); the sum over recall is that of
        `average_precision`, with a threshold at each distinct score. This assumes that the pairs of each
        class are drawn like those of the set.

        Args:
            base_rate: The share of positive pairs, between 0 and 1; at the set's own it is the average
                precision.
        """
        negatives = int(self.called[-1]) - self._positives
        # Counts in place of rates: a negative pair weighs this many times what a positive one does.
        weight = negative_weight(base_rate, self._positives, negatives)
        precision = self.found / (self.found + weight * (self.called - self.found))
        return float(np.sum(self.gained * precision) / self._positives)

    def precision_at_recall(self, least: float) -> float:
        """The precision at the highest threshold with at least this recall.

        Not the best precision at this recall or a larger one, which would be selected by the labels.

        Args:
            least: Above 0, up to 1.
        """
        place = np.searchsorted(self.found / self._positives, least)
        return float(self.found[place] / self.called[place])

    def recall_at_false_rate(self, most: float) -> float:
        """The recall at the lowest threshold within the false positive rate.

        Args:
            most: Between 0 and 1. If the highest score alone exceeds this rate, the recall is 0.
        """
        kept = np.searchsorted(self._false_rates, most, side="right")
        return float(self.found[kept - 1] / self._positives) if kept else 0.0

    def roc_curve(self) -> tuple[Floats, Floats]:
        """False and true positive rates from the highest threshold down, beginning at (0, 0)."""
        # The end points of the strokes: a point between two in one direction is not seen.
        steps = np.diff([self.found, self.called], n=1, prepend=0)
        turns = steps[0, :-1] * steps[1, 1:] != steps[0, 1:] * steps[1, :-1]
        kept = np.append(turns, True)
        rates = (self._false_rates[kept], self.found[kept] / self._positives)
        false, true = (np.insert(rate, 0, 0.0) for rate in rates)
        return false, true

    def precision_recall_curve(self) -> tuple[Floats, Floats]:
        """Precision and recall from the lowest threshold up, ending at (1, 0)."""
        # Where the recall stays the same, only both ends of the stroke are seen.
        moves = np.diff(self.found, prepend=-1, append=-1) != 0
        kept = np.flatnonzero(moves[:-1] | moves[1:])[::-1]
        precision, recall = self.found[kept] / self.called[kept], self.found[kept] / self._positives
        return np.append(precision, 1.0), np.append(recall, 0.0)


def negative_weight(base_rate: float, positives: int, negatives: int) -> float:
    """The weight of a negative pair, if a positive one has 1, at a share of positive pairs.

    Args:
        base_rate: The share of the positive pairs in the weight of all.
        positives, negatives: How many pairs there are, at least 1 of each.
    """
    return (1 - base_rate) / base_rate * positives / negatives
