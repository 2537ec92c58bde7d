"""Tests of resamples by groups of nearly equal scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ppi_train.evaluation import bootstrap, grouped_resamples
from ppi_train.evaluation.bootstrap import bootstrap_intervals
from ppi_train.evaluation.grouped_resamples import GROUPS, Cells

Sample = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8], npt.NDArray[np.int64]]


def sample(pairs: int, proteins: int) -> Sample:
    """Probabilities, labels and pairs, in which proteins are over- or underrated."""
    draw = np.random.default_rng(0)
    ends = draw.integers(proteins, size=(pairs, 2))
    labels = draw.integers(2, size=pairs, dtype=np.int8)
    rated = draw.normal(0, 0.4, proteins)[ends].sum(axis=1)
    logits = 0.8 * labels - 0.4 + rated + draw.normal(0, 1, pairs)
    return 1 / (1 + np.exp(-logits)), labels, ends


def test_cells_hold_all_pairs_of_a_class_in_a_group_of_neighbouring_scores() -> None:
    scores, labels, pairs = sample(3 * GROUPS, 500)
    cells = Cells.of(scores, labels, pairs, 500)
    assert cells.sizes.sum() == len(scores)
    for label in (0, 1):
        of_class = cells.labels == label
        assert cells.sizes[of_class].sum() == (labels == label).sum()
        assert (np.diff(cells.scores[of_class]) > 0).all()
        mean = cells.scores[of_class] @ cells.sizes[of_class] / cells.sizes[of_class].sum()
        assert mean == pytest.approx(scores[labels == label].mean())
    assert len(cells.sizes) > GROUPS


@pytest.mark.parametrize("count", [2000, 100_000])
def test_equal_scores_are_one_group_and_weights_are_products_of_drawn_proteins(count: int) -> None:
    scores, labels, pairs = sample(count, 40)
    scores = np.round(scores, 1)
    cells = Cells.of(scores, labels, pairs, 40)
    assert cells.scores == pytest.approx(np.round(cells.scores, 1))
    kinds = np.unique(scores + 10 * labels)
    assert len(cells.scores) == len(kinds)
    times = np.random.default_rng(7)
    drawn = np.bincount(times.integers(0, 40, 40), minlength=40)
    by_protein, by_pair = next(iter(cells.draws(1, seed=7)))
    a, b = pairs.T
    weights = np.where(a == b, drawn[a], drawn[a] * drawn[b])
    for score, label, weight in zip(cells.scores, cells.labels, by_protein, strict=True):
        assert weight == weights[(labels == label) & np.isclose(scores, score)].sum()
    assert by_pair.sum() == count


def test_intervals_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels, pairs = sample(30_000, 1500)
    exact = bootstrap_intervals(scores, labels, pairs, resamples=1000, seed=0)
    monkeypatch.setattr(bootstrap, "GROUPED_FROM", 1)
    monkeypatch.setattr(grouped_resamples, "GROUPS", 4096)
    grouped = bootstrap_intervals(scores, labels, pairs, resamples=1000, seed=1)
    other = {name: high - low for name, (low, high) in exact.items()}
    for name, (low, high) in grouped.items():
        assert high - low == pytest.approx(other[name], rel=0.35), name
        assert low == pytest.approx(exact[name][0], abs=other[name] / 4), name
        assert high == pytest.approx(exact[name][1], abs=other[name] / 4), name
