"""What uncertainty is worth: how precise the predictions are if only the surest are kept.

El-Yaniv & Wiener 2010, "On the foundations of noise-free selective classification".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import THRESHOLD

_FRACTIONS = np.arange(1, 21) / 20


@dataclass(frozen=True)
class KeptPrecision:
    """For each fraction of the pairs that is kept, (20,), the precision among them, nan where undefined."""

    fractions: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]

    def at(self, fraction: float) -> float:
        """The precision at one of the fractions."""
        return float(self.precision[np.argmin(np.abs(self.fractions - fraction))])


def precision_by_kept(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], uncertainty: npt.NDArray[np.float64]
) -> KeptPrecision:
    """Precision of calling pairs of `THRESHOLD` or above interacting, among the surest pairs.

    Args:
        probabilities, labels: (n,).
        uncertainty: (n,), the surer the lower; equal ones keep their order in the table.
    """
    order = np.argsort(uncertainty, kind="stable")
    called = (probabilities >= THRESHOLD)[order]
    right = np.cumsum(called & (labels[order] == 1))
    kept = np.maximum(1, np.round(_FRACTIONS * len(order)).astype(int)) - 1
    with np.errstate(invalid="ignore"):
        precision = right[kept] / np.cumsum(called)[kept]
    return KeptPrecision(_FRACTIONS, precision)
