"""Tests of reference proteins: what is taken off the logits of single proteins."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ppi_train.models.base import Packed, PairModel
from ppi_train.models.reference import REFERENCES
from ppi_train.models.registry import build_model

D = 6
PROTEINS = 300


def proteins_for(model: PairModel, seed: int = 0) -> Any:
    values = torch.randn(PROTEINS * 9, D, generator=torch.Generator().manual_seed(seed)) * 2
    if model.GRANULARITY == "residue":
        return Packed(values, torch.arange(PROTEINS + 1) * 9)
    return values[:PROTEINS]


@pytest.fixture(params=["pooled_mlp", "v3"])
def model(request: pytest.FixtureRequest) -> PairModel:
    torch.manual_seed(0)
    built = build_model(request.param, input_dim=D, hidden_dim=16, head_dim=8, members=3).eval()
    built.fit_input_statistics([proteins_for(built)])
    return built


@pytest.fixture
def states(model: PairModel) -> Any:
    return model.encode(proteins_for(model))


def block(model: PairModel) -> torch.Tensor:
    states = model.encode(proteins_for(model))
    return model.score_block(states, states)


@torch.inference_mode()
def test_the_mean_with_the_reference_proteins_is_taken_off(model: PairModel, states: Any) -> None:
    before = block(model)
    rows = torch.arange(10, 10 + REFERENCES)
    model.take_reference(model.select(states, rows))
    torch.testing.assert_close(block(model), before, rtol=0, atol=0)  # the share is 0
    model.set_reference_share(1.0)
    if model.GRANULARITY == "protein":  # `v3` adds the similarity of the proteins to that
        single = before[:, rows].mean(dim=1) - before[rows][:, rows].mean()
        wanted = before - single[:, None] - single
        torch.testing.assert_close(block(model), wanted, rtol=1e-4, atol=1e-4)
        assert float(block(model)[:, rows].mean(dim=1).std()) < 1e-4
    whole = block(model)
    model.set_reference_share(0.25)
    torch.testing.assert_close(block(model), before + (whole - before) / 4, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_every_way_of_scoring_agrees(model: PairModel, states: Any) -> None:
    model.take_reference(model.select(states, torch.arange(50)))
    model.set_reference_share(0.8)
    states = model.encode(proteins_for(model))
    a, b = torch.arange(40), torch.arange(100, 140)
    scores = model.score(model.select(states, a), model.select(states, b))
    assert torch.equal(scores, model.score(model.select(states, b), model.select(states, a)))
    exact = model.score_block(model.select(states, a), model.select(states, b))
    torch.testing.assert_close(exact.diagonal(), scores, rtol=1e-5, atol=1e-5)
    rough = model.rough_block(model.select(states, a), model.select(states, b))
    assert rough is not None
    assert bool(((rough.logits - exact).abs() <= rough.error).all())
    assert torch.equal(rough.exact(torch.arange(exact.numel())), exact.flatten())


@torch.inference_mode()
def test_the_members_agree_as_much_as_before(model: PairModel, states: Any) -> None:
    pair = model.select(states, torch.arange(30)), model.select(states, torch.arange(30, 60))
    before = model.score_with_uncertainty(*pair)[1]
    model.take_reference(states)
    model.set_reference_share(1.0)
    states = model.encode(proteins_for(model))
    pair = model.select(states, torch.arange(30)), model.select(states, torch.arange(30, 60))
    torch.testing.assert_close(model.score_with_uncertainty(*pair)[1], before, rtol=1e-4, atol=1e-5)


def test_few_reference_proteins_count_as_often_as_each_other(model: PairModel, states: Any) -> None:
    model.take_reference(model.select(states, torch.arange(4)))
    once = model.means_with_reference(states)
    model.take_reference(model.select(states, torch.arange(4).repeat(REFERENCES // 4)))
    assert once is not None
    torch.testing.assert_close(model.means_with_reference(states), once, rtol=0, atol=0)


def test_training_does_not_know_them(model: PairModel, states: Any) -> None:
    pairs, targets = torch.arange(60).view(-1, 2), torch.ones(30)

    def losses() -> torch.Tensor:
        torch.manual_seed(0)
        return model.train().losses(proteins_for(model), pairs, targets)

    before = losses()
    model.take_reference(states)
    model.set_reference_share(1.0)
    assert torch.equal(losses(), before)


def test_weights_of_a_version_without_them_score_as_they_did(model: PairModel, states: Any) -> None:
    before = block(model)
    old = {name: tensor for name, tensor in model.state_dict().items() if "reference" not in name}
    model.take_reference(states)
    model.set_reference_share(1.0)
    model.load_state_dict(old)
    assert torch.equal(block(model), before)


@pytest.mark.parametrize("share", [float("nan"), -0.1, 1.1, 1e30])
def test_a_share_that_is_none_is_refused(model: PairModel, share: float) -> None:
    model.set_reference_share(share)
    with pytest.raises(RuntimeError, match=r"reference\.share is .*, and must be from 0 to 1"):
        model.load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", ["states", "middle", "share"])
def test_weights_with_a_part_of_them_are_refused(model: PairModel, name: str) -> None:
    weights = {key: tensor for key, tensor in model.state_dict().items() if key != f"reference.{name}"}
    with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "reference\.{name}"'):
        model.load_state_dict(weights)


def test_other_models_have_none() -> None:
    other = build_model("pair_transformer", input_dim=D)
    other.set_reference_share(1.0)
    assert other.means_with_reference(None) is None
