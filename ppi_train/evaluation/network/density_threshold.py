"""The threshold that matches the called edges to a network's density.

At 0.5 a model that was trained on as many negatives as positives calls far too many edges in a network
where one pair in a hundred interacts. The threshold is chosen on validation pairs, so that the test
network's metrics stay a test.

Legend of shapes: n pairs, g distinct scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.errors import DataError
from ppi_train.evaluation.pair_metrics import Floats, checked_scores


def density_threshold(scores: npt.NDArray[Any], labels: npt.NDArray[Any], density: float) -> float:
    """Finds the threshold that calls pairs at the given density.

    The share of called pairs is as near as possible to the density. Of two thresholds equally near, the
    higher is taken. Validation pairs are sampled, with far more positives than a network has: each class
    counts here with the weight that it has in a network of that density. So the share called at t is density
    * recall(t) + (1 - density) * false positive rate(t).

    Args:
        scores: (n,) probabilities, or logits, of the validation pairs.
        labels: (n,) 0 or 1.
        density: The share of a network's pairs that interact, between 0 and 1.

    Returns:
        A threshold; a pair is called at a score of it or above. It is one of the scores, or just above
        the highest where calling nothing comes nearest.

    Raises:
        DataError: the density is not a share, shapes differ, one class only, or a score is not finite.
    """
    if not 0 <= density <= 1:
        raise DataError(
            "the density to match is not a share of the pairs",
            got=density,
            expected="a number between 0 and 1",
        )
    values, truth = checked_scores(scores, labels)
    positives = int(np.count_nonzero(truth))
    weights = np.where(truth == 1, density / positives, (1 - density) / (truth.size - positives))
    distinct, group = np.unique(values, return_inverse=True)
    share = np.bincount(group, weights)  # of the pairs with exactly this score, (g,)
    called: Floats = np.append(np.cumsum(share[::-1])[::-1], 0.0)  # at this score or above; then nothing
    thresholds = np.append(distinct, np.nextafter(distinct[-1], np.inf))
    distance = np.abs(called - density)
    return float(thresholds[np.flatnonzero(distance <= distance.min() + 1e-12)[-1]])
