"""Tests of scoring all pairs of a network.

Each pair is scored once, and those below the threshold are not kept.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppi_train.checkpoints import new_model
from ppi_train.data.pairs import PairTable, pairs_from_ids
from ppi_train.evaluation.overlap import Audit, audit_tables
from ppi_train.features import VectorFeatures
from ppi_train.inference.all_pairs import PredictedPairs, predict_pairs
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scoring import encode_all
from ppi_train.modes.eval_only.leakage import gains_over_trivial
from ppi_train.runs.training_pairs import joined

NAMES = tuple(f"P{number:02d}" for number in range(30))


def called(*, include_self: bool, least: float, flat: bool = False) -> tuple[PredictedPairs, torch.Tensor]:
    """What is called among 30 proteins, and the logit of each of them with each."""
    torch.manual_seed(0)
    values = torch.randn(30, 6)
    model = new_model("pooled_mlp", 6, {}).eval()
    if flat:
        for parameter in model.parameters():
            parameter.data.zero_()
    states = encode_all(model, VectorFeatures(values))
    encoded = EncodedProteins(model=model, states=states, device=torch.device("cpu"))
    found = predict_pairs(encoded, NAMES, include_self=include_self, least=least)
    with torch.inference_mode():
        a, b = torch.arange(30).repeat_interleave(30), torch.arange(30).repeat(30)
        logits = model.score(model.select(states, a), model.select(states, b)).view(30, 30)
    return found, logits


@pytest.mark.parametrize(("include_self", "pairs"), [(True, 465), (False, 435)])
def test_each_pair_is_scored_once_and_kept_from_the_threshold_on(include_self: bool, pairs: int) -> None:
    everything, logits = called(include_self=include_self, least=-100.0)
    assert (
        everything.scored == pairs == len(everything.pairs) == len({*map(tuple, everything.pairs.tolist())})
    )
    expected = logits[everything.pairs[:, 0], everything.pairs[:, 1]].numpy()
    np.testing.assert_allclose(everything.logits, expected, atol=1e-5)
    # All pairs are counted, also those that are not kept.
    half = everything.counts.expected_edges(prevalence=0.5, density=0.5)
    assert half == pytest.approx((1 / (1 + np.exp(-everything.logits))).sum(), rel=1e-3)
    middle = float(np.median(everything.logits))
    above, _ = called(include_self=include_self, least=middle)
    assert len(above.pairs) == np.count_nonzero(everything.logits >= middle)
    assert (above.counts.counts == everything.counts.counts).all()
    assert above.network(middle).edges == len(above.pairs) == everything.network(middle).edges


def test_scores_that_are_all_equal_call_all_or_nothing() -> None:
    flat, _ = called(include_self=False, least=0.0, flat=True)
    assert flat.network(0.0).edges == 435
    assert flat.network(np.nextafter(0.0, 1.0)).edges == 0
    nothing, _ = called(include_self=False, least=100.0)
    assert nothing.network(100.0).edges == 0
    assert nothing.network(100.0).proteins == NAMES


def table(*labels: int) -> PairTable:
    return pairs_from_ids(NAMES[: len(labels)], NAMES[10 : 10 + len(labels)], labels, "table")


def test_the_gain_is_over_the_best_of_the_baselines_and_guessing() -> None:
    pairs = table(1, 0, 1, 0, 1, 0)
    good, bad = np.array([5.0, 4, 3, 1, 2, 0]), np.array([0.0, 1, 0, 1, 0, 1])
    audit = Audit(
        measures={}, baselines={"degree": bad, "nearest": good}, seen=np.zeros(6), degrees=np.zeros((6, 2))
    )
    perfect = np.array([1.0, -1, 1, -1, 1, -1])
    gains = gains_over_trivial(perfect, pairs, audit, resamples=0, seed=0)
    assert gains["auroc"].baseline == "nearest"
    assert gains["auroc"].value == pytest.approx(2 / 9)
    assert gains["auroc"].low is None
    worse = Audit(measures={}, baselines={"degree": bad}, seen=np.zeros(6), degrees=np.zeros((6, 2)))
    gains = gains_over_trivial(perfect, pairs, worse, resamples=20, seed=0)
    assert (gains["auprc"].baseline, gains["auprc"].value) == ("chance", 0.5)
    assert gains["auroc"].low == gains["auroc"].high == 0.5
    flat = gains_over_trivial(np.zeros(6), pairs, worse, resamples=20, seed=0)
    assert flat["auprc"].value == flat["auprc"].low == 0


def test_of_a_pair_that_was_trained_on_twice_the_later_label_counts() -> None:
    first = pairs_from_ids(["A", "C"], ["B", "D"], [1, 1], "first")
    second = pairs_from_ids(["D", "E"], ["C", "F"], [0, 1], "second")
    both = joined([first, second], [], "both")
    assert both.labels is not None
    labels = {both.proteins[a]: int(label) for (a, _), label in zip(both.index, both.labels, strict=True)}
    assert labels == {"A": 1, "C": 0, "E": 1}
    assert both.source == "both"


def test_a_pair_under_other_names_of_its_sequences_is_the_same_pair() -> None:
    first = pairs_from_ids(["A", "C"], ["B", "D"], [1, 1], "first")
    second = pairs_from_ids(["9606.D", "E"], ["9606.C", "F"], [0, 1], "second")
    digests = [{name: name for name in "ABCD"}, {"9606.C": "C", "9606.D": "D", "E": "E", "F": "F"}]
    both = joined([first, second], digests, "both")
    labels = {
        frozenset(both.proteins[protein] for protein in pair): int(label)
        for pair, label in zip(both.index, both.required_labels, strict=True)
    }
    assert labels == {frozenset("AB"): 1, frozenset(("9606.C", "9606.D")): 0, frozenset("EF"): 1}


def test_one_class_is_audited_without_ranking_the_baselines(caplog: pytest.LogCaptureFixture) -> None:
    audit = audit_tables(table(1, 0, 1), table(1, 1), None)
    assert audit.measures["shared_pairs"] == 2
    assert not any(name.endswith(("auroc", "auprc")) for name in audit.measures)
    assert len(audit.baselines["degree"]) == 2
    assert "one class only" in caplog.text
