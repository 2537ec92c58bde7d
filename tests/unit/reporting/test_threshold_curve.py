"""Tests of the figure and the table of graph similarity over thresholds."""

from __future__ import annotations

import numpy as np

from ppi_train.evaluation.network.curve import ThresholdCurve
from ppi_train.reporting.figures import as_svg
from ppi_train.reporting.threshold_curve import similarity_figure, similarity_picture, similarity_table

LOGITS = np.array([-1.0, 0.0, 1.0, 2.0])
CURVE = ThresholdCurve(
    thresholds=LOGITS,
    edges=np.array([5000, 400, 30, 2]),
    by_kind={
        "random_walk": {
            "graph_similarity": np.array([0.1, 0.25, 0.3, 0.05]),
            "relative_density": np.array([np.inf, 4.0, 1.5, 0.0]),
        }
    },
    everything={"random_walk": {"graph_similarity": 0.08, "relative_density": 25.0}},
)
MARKED = {"at 0.5": 0.0, "expected, 0.731": 1.0}


def test_the_table_names_the_called_networks_and_begins_with_the_strictest() -> None:
    table = similarity_table(CURVE, MARKED)
    heads = ["threshold", "probability", "edges"]
    measures = ["random walk, graph similarity", "random walk, relative density"]
    assert [column.name for column in table.columns] == heads + measures
    assert [row.cells for row in table.rows] == [
        ("", "0.8808", "2", "0.050", "0.000"),
        ("expected, 0.731", "0.7311", "30", "0.300", "1.500"),
        ("at 0.5", "0.5000", "400", "0.250", "4.000"),
        ("", "0.2689", "5,000", "0.100", "infinite"),
        ("every pair called", "0", "all", "0.080", "25.0"),
    ]


def test_infinite_densities_and_none_are_not_drawn() -> None:
    figure = similarity_figure(CURVE, MARKED)
    line = figure.axes[0].get_lines()[0]
    assert np.asarray(line.get_xdata()).tolist() == [4.0, 1.5]
    assert "highest: random walk 0.300" in similarity_picture(CURVE, MARKED, figure).alt
    assert as_svg(figure).startswith(b"<?xml")
