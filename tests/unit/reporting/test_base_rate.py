"""Tests of the table of what is expected where interactions are rare."""

from __future__ import annotations

import numpy as np

from ppi_train.reporting.base_rate import expected_table


def test_the_true_number_stands_next_to_the_expected_ones() -> None:
    # The 100 highest are right in 80 of 100 cases by their probability, and in 70 by their labels.
    probabilities = np.repeat([0.1, 0.8], [100, 100])
    labels = np.repeat(np.array([1, 0, 1, 0], np.int8), [30, 70, 70, 30])
    table = expected_table(probabilities, labels, prevalence=0.5)
    assert table is not None
    assert [column.name for column in table.columns] == [
        "highest-scored pairs",
        "interacting here",
        "expected at this share, 50.0%",
        "expected at 1:100",
        "expected at 1:1000",
    ]
    # Odds of 4:1 become 4:100 and 4:1000.
    assert [row.cells for row in table.rows] == [("100", "70", "80.0", "3.8", "0.4")]


def test_fewer_pairs_have_no_table() -> None:
    assert expected_table(np.array([0.2, 0.9]), np.array([0, 1], np.int8), prevalence=0.5) is None
