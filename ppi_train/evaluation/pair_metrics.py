"""Single-number metrics of scored pairs with known labels.

Threshold-free metrics (AUROC, AUPRC) rank the pairs; the others take the score as a probability. A metric
that cannot be computed is an error, never a silent NaN: a NaN in a tracked run compares false with
everything, so early stopping and promotion would quietly pick the wrong run.

Legend of shapes: n pairs, b reliability bins.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppi_train.errors import DataError
from ppi_train.evaluation.base_rate import BASE_RATES
from ppi_train.evaluation.ranking import Ranking

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]

THRESHOLD = 0.5  # a pair is called interacting at this probability or above
RECALLS = {"precision_at_recall_10": 0.1, "precision_at_recall_50": 0.5}
FALSE_RATE = 0.01  # of `recall_at_fpr_1`
RATE_SLACK = 1e-12  # a tenth of 30 is 3, despite rounding in the last digit
LOG_FLOOR = float(np.finfo(np.float64).eps)  # a probability of 0 or 1 is not infinitely wrong; as in sklearn
CALIBRATION_BINS = 15  # as in Guo et al. 2017
INNER_EDGES = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)[1:-1]
BOUNDS = {
    "auroc": (0.0, 1.0),
    "auprc": (0.0, 1.0),
    "auprc_1to100": (0.0, 1.0),
    **dict.fromkeys(RECALLS, (0.0, 1.0)),
    "recall_at_fpr_1": (0.0, 1.0),
    "accuracy": (0.0, 1.0),
    "f1": (0.0, 1.0),
    "mcc": (-1.0, 1.0),
    "brier": (0.0, 1.0),
    "log_loss": (0.0, np.inf),
    "ece": (0.0, 1.0),
    "ece_adaptive": (0.0, 1.0),
}
"""Lowest and highest value of each metric, in the order in which they are given."""


class ReliabilityBins(NamedTuple):
    """The non-empty probability bins in ascending order; each array (b,).

    Attributes:
        lower: Left edge of the bin.
        upper: Right edge of the bin.
        pairs: How many pairs the bin holds.
        confidence: Mean probability of the bin's pairs.
        frequency: Share of the bin's pairs that interact.
    """

    lower: Floats
    upper: Floats
    pairs: Floats
    confidence: Floats
    frequency: Floats


def pair_metrics(
    scores: npt.NDArray[Any], labels: npt.NDArray[Any], *, are_logits: bool = False
) -> dict[str, float]:
    """Computes every metric of a scored test set.

    Args:
        scores: (n,) probabilities, or logits if `are_logits`. This is stated, not
            guessed: logits that happen to lie between 0 and 1 look like probabilities.
        labels: (n,) 0 or 1.
        are_logits: The scores pass through a sigmoid before the metrics that need probabilities. The
            ranking metrics use the logits, whose order a saturated sigmoid would lose.

    Returns:
        By ranking: `auroc`, `auprc` (average precision), `auprc_1to100` (see `area_metrics`),
        `precision_at_recall_10` and `_50`, `recall_at_fpr_1`. At a probability of 1/2: `accuracy`, `f1`,
        `mcc`. Of the probabilities: `brier`, `log_loss` (nats), `ece`, `ece_adaptive`.

    Raises:
        DataError: Shapes differ, one class only, a score that is not finite, or a probability outside 0 to 1.
    """
    values, truth = checked_scores(scores, labels)
    ranking = Ranking.of(values, truth)
    probabilities, _ = checked_probabilities(sigmoid(scores) if are_logits else scores, labels)
    by_probability = ranking.of_groups(sigmoid(ranking.scores)) if are_logits else ranking
    found = {
        **area_metrics(ranking),
        **{name: ranking.precision_at_recall(recall - RATE_SLACK) for name, recall in RECALLS.items()},
        "recall_at_fpr_1": ranking.recall_at_false_rate(FALSE_RATE + RATE_SLACK),
        **_of_calls(probabilities >= THRESHOLD, truth),
        **_of_probabilities(probabilities, truth, by_probability),
    }
    return {name: found[name] for name in BOUNDS}


def probability_metrics(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any]) -> dict[str, float]:
    """Computes the metrics that are also defined for pairs of one class.

    Args:
        probabilities: (n,) between 0 and 1.
        labels: (n,) 0 or 1.

    Returns:
        `accuracy`, `brier`, `log_loss`, `ece` and `ece_adaptive`.

    Raises:
        DataError: Shapes differ, no pairs, a probability that is not finite or outside 0 to 1.
    """
    values, truth = checked_probabilities(probabilities, labels, both_classes=False)
    return _of_probabilities(values, truth, Ranking.of(values, truth))


def _of_probabilities(probabilities: Floats, labels: Labels, ranking: Ranking) -> dict[str, float]:
    return {
        "accuracy": float(np.mean((probabilities >= THRESHOLD) == labels)),
        "brier": float(np.mean((probabilities - labels) ** 2)),
        "log_loss": _log_loss(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "ece_adaptive": adaptive_calibration_error(ranking),
    }


def _of_calls(called: npt.NDArray[np.bool_], labels: Labels) -> dict[str, float]:
    """F1 and Matthews correlation; 0 where all pairs get the same call."""
    positive = labels == 1
    true_pos, n_called, n_positive = (
        float(np.count_nonzero(a)) for a in (called & positive, called, positive)
    )
    n = called.size
    spread = math.sqrt(n_called * (n - n_called)) * math.sqrt(n_positive * (n - n_positive))
    return {
        "f1": 2 * true_pos / (n_called + n_positive),
        "mcc": (true_pos * n - n_called * n_positive) / spread if spread else 0.0,
    }


def _log_loss(probabilities: Floats, labels: Labels) -> float:
    """Mean negative logarithm of what was predicted for the true class."""
    given = np.where(labels == 1, probabilities, 1 - probabilities)
    return float(-np.mean(np.log(np.clip(given, LOG_FLOOR, 1 - LOG_FLOOR))))


def ranking_metrics(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> dict[str, float]:
    """Computes AUROC and AUPRC, which only need the order of the scores.

    Args:
        scores: (n,) logits or probabilities.
        labels: (n,) 0 or 1.

    Returns:
        `auroc` and `auprc` (average precision).

    Raises:
        DataError: Shapes differ, one class only, or a score that is not finite.
    """
    ranking = Ranking.of(*checked_scores(scores, labels))
    return {"auroc": ranking.auroc(), "auprc": ranking.average_precision()}


def area_metrics(ranking: Ranking) -> dict[str, float]:
    """The areas under the curves of a ranking: `auroc`, `auprc` and `auprc_1to100`.

    `auprc_1to100` is the AUPRC that the same scores have where interacting and other pairs stand 1:100, as
    in a network: with pi = 1/101 and the true and false positive rates of a threshold, its precision is
    pi * tpr / (pi * tpr + (1 - pi) * fpr). It assumes that the pairs of each class are drawn like those of
    the set. Negatives that match the positives by degree are harder than all pairs of a proteome, for which
    the metric is then too low. With few negatives it is too high on average, since it is decided by those of
    highest score.

    Args:
        ranking: Pairs of both classes.
    """
    return {
        "auroc": ranking.auroc(),
        "auprc": ranking.average_precision(),
        "auprc_1to100": ranking.average_precision_at(BASE_RATES["1to100"]),
    }


def expected_calibration_error(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """Mean distance between predicted probability and observed frequency, weighted by bin size.

    Guo et al. 2017, "On calibration of modern neural networks", equation 3, for the probability of the
    positive class: 15 bins of equal width, each closed on its right.

    Args:
        probabilities: (n,) between 0 and 1.
        labels: (n,) 0 or 1.
    """
    bins = reliability_bins(probabilities, labels)
    gaps = np.abs(bins.frequency - bins.confidence)
    return float(np.sum(bins.pairs * gaps) / np.sum(bins.pairs))


def adaptive_calibration_error(ranking: Ranking) -> float:
    """The calibration error over 15 bins with equal numbers of pairs.

    The numbers are as equal as ties allow. Nguyen & O'Connor 2015, "Posterior calibration and exploratory
    analysis for natural language processing models". Where most probabilities lie close together, as in test
    sets with few positives, bins of equal width put nearly all pairs into one bin and show little.

    Args:
        ranking: The pairs by probability. Pairs of equal probability are in one bin, that of their middle.
    """
    values, positives = ranking.scores[::-1], ranking.gained[::-1]
    pairs = positives + ranking.missed[::-1]
    total = int(ranking.called[-1])
    middle = np.cumsum(pairs) - pairs / 2
    edges = np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS * total
    bins = np.searchsorted(edges, middle, side="right")
    surplus = pairs * values - positives
    return float(np.abs(np.bincount(bins, weights=surplus)).sum() / total)


def reliability_bins(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any]) -> ReliabilityBins:
    """Groups pairs by probability; bins without pairs are left out.

    Args:
        probabilities: (n,) between 0 and 1.
        labels: (n,) 0 or 1.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    places = np.searchsorted(INNER_EDGES, values, side="left")  # a value on an edge goes to the left bin
    pairs, expected, observed = (
        np.bincount(places, weights=weights, minlength=CALIBRATION_BINS).astype(np.float64)
        for weights in (np.ones_like(values), values, np.asarray(labels, dtype=np.float64))
    )
    filled = np.flatnonzero(pairs)
    edges = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)
    return ReliabilityBins(
        lower=edges[filled],
        upper=edges[filled + 1],
        pairs=pairs[filled],
        confidence=expected[filled] / pairs[filled],
        frequency=observed[filled] / pairs[filled],
    )


def sigmoid(logits: npt.NDArray[Any]) -> Floats:
    """Turns logits (n,) into probabilities without overflow.

    A logit of 0 gives exactly 0.5.
    """
    values = np.asarray(logits, dtype=np.float64)
    shrunk = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, shrunk) / (1.0 + shrunk)


def checked_probabilities(
    probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], *, both_classes: bool = True
) -> tuple[Floats, Labels]:
    """Like `checked_scores`, for scores that must be between 0 and 1."""
    values, truth = checked_scores(probabilities, labels, both_classes=both_classes)
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise DataError(
            "The scores are not probabilities",
            where=f"{int(outside.sum())} of {values.size} scores, first at row {int(outside.argmax())}",
            got=float(values[outside.argmax()]),
            expected="a value between 0 and 1",
            remedy="pass logits through a sigmoid first, or say that they are logits",
        )
    return values, truth


def checked_scores(
    scores: npt.NDArray[Any], labels: npt.NDArray[Any], *, both_classes: bool = True
) -> tuple[Floats, Labels]:
    """Validates scores and labels, and returns them as float64 and int8, (n,).

    Args:
        scores, labels: (n,).
        both_classes: Whether both must be present; at least one pair is always required.

    Raises:
        DataError: Shapes differ, a label is neither 0 nor 1, one class only, or a score is not finite.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise DataError(
            "Scores and labels do not match",
            where="evaluation of pairs",
            got=f"scores of shape {values.shape}, labels of shape {truth.shape}",
            expected="one score and one label per pair",
            remedy="score exactly the pairs of the table that holds the labels",
        )
    _check_labels(truth, both_classes=both_classes)
    _check_finite(values)
    return values, truth.astype(np.int8)


def _check_labels(labels: npt.NDArray[Any], *, both_classes: bool) -> None:
    wrong = ~np.isin(labels, (0, 1))
    if wrong.any():
        raise DataError(
            "A label is neither 0 nor 1",
            where=f"row {int(wrong.argmax())} of {labels.size}",
            got=labels[wrong.argmax()],
            expected="0 (no interaction) or 1 (interaction)",
            remedy="fix the label column of the pair table",
        )
    positives = int(np.count_nonzero(labels))
    if positives in (0, labels.size) and (both_classes or not labels.size):
        raise DataError(
            "The pairs hold one class only, so that AUROC and AUPRC are not defined",
            where="labels of the evaluated pairs",
            got=f"{positives} interacting and {labels.size - positives} non-interacting pairs",
            expected="at least one pair of each class",
            remedy="evaluate on a pair table that holds both labels",
        )


def _check_finite(scores: Floats) -> None:
    wrong = ~np.isfinite(scores)
    if wrong.any():
        raise DataError(
            "The model's scores are not finite numbers",
            where=f"{int(wrong.sum())} of {scores.size} scores, first at row {int(wrong.argmax())}",
            got=scores[wrong.argmax()],
            expected="finite numbers",
            remedy="training has probably diverged: lower the learning rate, clip gradients, or set amp=off; "
            "and look for NaN in the embeddings",
        )
