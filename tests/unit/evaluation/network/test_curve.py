"""Tests of graph similarity over thresholds, against the metrics of each called network."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.evaluation.network import network_from_pairs
from ppi_train.evaluation.network.curve import threshold_curve
from ppi_train.evaluation.network.topology import PAIRED, TrueSample, network_metrics

pytestmark = pytest.mark.filterwarnings("error")
NAMES = tuple(f"P{number:02d}" for number in range(60))


def test_each_point_has_the_metrics_of_the_network_called_there() -> None:
    rng = np.random.default_rng(0)
    pairs = np.argwhere(np.triu(np.ones((60, 60), bool)))  # with self loops
    logits = np.round(rng.normal(size=len(pairs)), 2)  # with ties
    truth = network_from_pairs(NAMES, pairs[rng.random(len(pairs)) < 0.2])
    sets = {size: [rng.choice(NAMES, size, replace=False).tolist() for _ in "abc"] for size in (10, 20, 30)}
    samples = {kind: TrueSample.of(truth, {size: sets[size]}) for kind, size in (("bfs", 30), ("own", 20))}
    samples["dfs"] = TrueSample.of(truth, sets)
    kept = logits >= -0.5
    curve = threshold_curve(pairs[kept], logits[kept], samples, marked=(0.0, 0.123))
    assert {0.0, 0.123} <= set(curve.thresholds.tolist())
    assert (np.diff(curve.thresholds) > 0).all()
    for place, threshold in enumerate(curve.thresholds):
        called = network_from_pairs(NAMES, pairs, logits, threshold=threshold)
        assert curve.edges[place] == called.edges
        for kind, sample in samples.items():
            overall = network_metrics(called, sample).overall
            for name in PAIRED:
                assert curve.by_kind[kind][name][place] == pytest.approx(overall[name], abs=1e-12)
    every_pair = network_from_pairs(NAMES, pairs)
    for kind, sample in samples.items():
        overall = network_metrics(every_pair, sample).overall
        assert curve.everything[kind] == pytest.approx({name: overall[name] for name in PAIRED})
    best = curve.best("bfs")
    assert best["graph_similarity"] == curve.by_kind["bfs"]["graph_similarity"].max()
    assert best["threshold"] in curve.thresholds


def test_a_network_without_a_called_pair_has_a_curve() -> None:
    truth = network_from_pairs(NAMES, np.array([[0, 1], [2, 3]]))
    samples = {"bfs": TrueSample.of(truth, {4: [NAMES[:4]]})}
    curve = threshold_curve(np.empty((0, 2), np.int64), np.empty(0), samples, marked=(0.0,))
    assert curve.edges.tolist() == [0]
    assert curve.everything["bfs"] == {"graph_similarity": pytest.approx(2 * 2 / 8), "relative_density": 3.0}
    assert curve.best("bfs") == {"graph_similarity": 0.0, "relative_density": 0.0, "threshold": 0.0}
