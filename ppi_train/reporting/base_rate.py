"""The table of a report on how many of the best pairs are right where interactions are rare."""

from __future__ import annotations

import numpy as np

from ppi_train.evaluation.base_rate import BASE_RATES, expected_right
from ppi_train.evaluation.pair_metrics import Floats, Labels
from ppi_train.reporting.page import Row, Table, columns


def expected_table(probabilities: Floats, labels: Labels, prevalence: float) -> Table | None:
    """How many of the highest-scored pairs interact, here and where interactions are rare.

    Args:
        probabilities: (n,) calibrated.
        labels: (n,) 0 or 1, of both classes.
        prevalence: Share of interacting pairs where they were calibrated.

    Returns:
        None if there are too few pairs.
    """
    own = float(labels.mean())
    rates = {f"expected at this share, {own:.1%}": own}
    rates |= {f"expected at {name.replace('to', ':')}": rate for name, rate in BASE_RATES.items()}
    expected = [expected_right(probabilities, prevalence, rate) for rate in rates.values()]
    highest = np.argsort(-probabilities, kind="stable")
    rows = tuple(
        Row(
            cells=(
                f"{founds[0].top:,}",
                f"{labels[highest[: founds[0].top]].sum():,}",
                *(f"{found.right:,.1f}" for found in founds),
            )
        )
        for founds in zip(*expected, strict=True)
    )
    if not rows:
        return None
    return Table(
        caption="Of pairs that score like the highest here, how many interact, by how rare interactions are: "
        "1:100 is one interacting pair to 100 others. A real network is about that sparse, or more",
        columns=columns((), ["highest-scored pairs", "interacting here", *rates]),
        rows=rows,
    )
