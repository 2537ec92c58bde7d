"""Tests of `v3`: scaling, symmetry, batch independence, and motif detection.

It is linear in the length and symmetric to the bit.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ppi_train.models.base import Packed, PairModel
from ppi_train.models.registry import build_model

D = 8
LENGTHS = [30, 1, 12, 55, 7, 120]


def packed(lengths: list[int] = LENGTHS, seed: int = 0) -> Packed:
    values = torch.randn(sum(lengths), D, generator=torch.Generator().manual_seed(seed)) * 3 + 1
    return Packed(values, torch.tensor([0, *lengths]).cumsum(0))


def v3(proteins: Packed, **hyperparameters: object) -> PairModel:
    torch.manual_seed(0)
    given = {"hidden_dim": 16, "head_dim": 8, "slots": 2, "members": 2, **hyperparameters}
    built = build_model("v3", input_dim=D, **given)
    built.fit_input_statistics([proteins])
    return built.eval()


@pytest.fixture
def model() -> PairModel:
    return v3(packed())


def test_the_order_of_a_pair_changes_no_bit(model: PairModel) -> None:
    pairs = torch.tensor([[0, 1], [2, 3], [4, 4], [5, 1]])
    assert torch.equal(model(packed(), pairs), model(packed(), pairs.flip(1)))


def test_a_state_has_one_size_whatever_the_length_and_the_batch(model: PairModel) -> None:
    states = model.encode(packed())
    assert states.members.shape == (6, 2 * 16 + 1)
    alone = [model.encode(packed().take(torch.tensor([protein]))) for protein in range(6)]
    torch.testing.assert_close(model.join(alone), states, rtol=1e-5, atol=1e-5)
    halves = Packed(packed().values.half(), packed().offsets)
    torch.testing.assert_close(model.encode(halves), states, rtol=0.05, atol=0.05)


def test_titin_and_a_single_residue_are_encoded_to_finite_states(model: PairModel) -> None:
    assert all(tensor.isfinite().all() for tensor in model.encode(packed([34_350, 1, 60])))


def test_vectors_of_a_protein_are_proteins_of_one_residue() -> None:
    single = Packed.one_row_each(packed().values[:20])
    model = v3(single)
    scores = model(single, torch.arange(20).view(10, 2)).mean(dim=1)
    assert scores.isfinite().all()
    assert scores.std() > 1e-4


def test_the_spread_of_the_members_is_the_uncertainty(model: PairModel) -> None:
    sides = [model.select(model.encode(packed()), rows) for rows in torch.arange(6).split(3)]
    members = model.score_members(*sides)
    logits, deviation = model.score_with_uncertainty(*sides)
    torch.testing.assert_close(logits, members.mean(dim=1))
    torch.testing.assert_close(deviation, (members[:, 0] - members[:, 1]).abs() / 2)


def test_a_motif_of_three_residues_among_hundred_is_found() -> None:
    """Pairs interact if both or neither have the motif: the mean of so many residues hardly shows it."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(64 * 100, D, generator=generator)
    motif = 4 * torch.randn(D, generator=generator).sign()
    has_it = torch.arange(64) % 2 == 0
    for protein in has_it.nonzero().flatten().tolist():
        start = 100 * protein + int(torch.randint(97, (), generator=generator))
        values[start : start + 3] += motif
    proteins = Packed(values, 100 * torch.arange(65))
    model = v3(proteins, input_dropout=0.0, dropout=0.0).train()
    pairs = torch.randint(64, (600, 2), generator=generator)
    targets = (has_it[pairs[:, 0]] == has_it[pairs[:, 1]]).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model.losses(proteins, pairs, targets).mean().backward()
        optimizer.step()
    model.eval()
    fresh = torch.randint(64, (600, 2), generator=generator)
    right = (model(proteins, fresh).mean(dim=1) > 0) == (has_it[fresh[:, 0]] == has_it[fresh[:, 1]])
    assert right.float().mean() > 0.95
    (weights,), _ = model.explain(proteins, torch.tensor([[0, 2]]))
    motif_rows = (values[:100] @ motif).topk(3).indices
    assert set(weights.topk(3).indices.tolist()) == set(motif_rows.tolist())


def test_weights_and_scales_survive_a_reload(model: PairModel) -> None:
    torch.manual_seed(1)
    other = build_model("v3", input_dim=D, hidden_dim=16, head_dim=8, slots=2, members=2).eval()
    other.load_state_dict(model.state_dict())
    pairs = torch.tensor([[0, 1], [2, 3]])
    assert torch.equal(model(packed(), pairs), other(packed(), pairs))


def test_the_unit_of_the_embedding_does_not_matter(model: PairModel) -> None:
    large = Packed(packed().values * 1000, packed().offsets)
    other = v3(large)
    torch.testing.assert_close(other.encode(large), model.encode(packed()), rtol=1e-3, atol=1e-3)


def test_an_explanation_has_a_weight_for_each_residue_and_is_of_the_same_score(model: PairModel) -> None:
    weights_a, weights_b = model.explain(packed(), torch.tensor([[0, 1], [3, 3]]))
    assert [len(weights) for weights in weights_a] == [30, 55]
    assert [len(weights) for weights in weights_b] == [1, 55]
    assert all(weights.isfinite().all() and (weights >= 0).all() for weights in (*weights_a, *weights_b))
    assert weights_b[0].item() == 0  # a single residue is the mean
    alone = [model._state_of(rows) for rows in packed().values.split(LENGTHS)]  # type: ignore[operator]
    torch.testing.assert_close(model.join(alone), model.encode(packed()), rtol=1e-4, atol=1e-4)


def test_an_explanation_is_of_the_score_with_what_is_taken_off(model: PairModel) -> None:
    """The signed parts of a protein's two residues add up to what its features change the score by."""
    model.take_reference(model.encode(packed([9] * 40, seed=1)))
    model.set_reference_share(1.0)
    proteins = packed([2] * 12 + [1], seed=2)
    pairs = torch.tensor([[protein, 12] for protein in range(12)])  # a single residue has no part
    means = proteins.values[:24].view(12, 2, D).mean(dim=1, keepdim=True).expand(12, 2, D)
    plain = Packed(torch.cat([means.reshape(24, D), proteins.values[24:]]), proteins.offsets)
    first, second = torch.stack(model.explain(proteins, pairs)[0]).unbind(dim=1)
    with torch.inference_mode():
        change = (model(proteins, pairs) - model(plain, pairs)).mean(dim=1).abs()
    sums = torch.stack([first + second, (first - second).abs()])
    assert float((sums - change).abs().min(dim=0).values.max()) < 0.02 * float(change.max())


def chains(order: list[int], seed: int) -> torch.Tensor:
    """Residues of eight kinds that follow one another in an order, as a chain of 240 with noise."""
    generator = torch.Generator().manual_seed(seed)
    kinds = 2 * torch.eye(D)
    return kinds[order * (240 // len(order))] + 0.3 * torch.randn(240, D, generator=generator)


def test_proteins_of_one_composition_are_told_apart_by_their_order() -> None:
    """Mean, maximum and deviation are the same; what stands four residues apart is not."""
    orders = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 2, 4, 6, 1, 3, 5, 7]]
    values = torch.cat([chains(orders[protein % 2], protein) for protein in range(12)])
    proteins = Packed(values, 240 * torch.arange(13))
    model = v3(proteins)
    alike = model.similarity.block(*[model.encode(proteins).sketch] * 2)  # type: ignore[operator, union-attr]
    same = (torch.arange(12)[:, None] - torch.arange(12)) % 2 == 0
    assert alike[same].min() > alike[~same].max() + 0.3


def test_similarity_is_taught_apart_from_the_networks(model: PairModel) -> None:
    """Its evidence is not in the members' loss, nor is theirs in its own; scores have both."""
    pairs, targets = torch.tensor([[0, 1], [2, 3], [4, 5]]), torch.tensor([1.0, 0.0, 1.0])
    weight = dict(model.named_parameters())["similarity.weight"]
    model.losses(packed(), pairs, targets).sum().backward()
    taught = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    scores = model(packed(), pairs)
    model.zero_grad()
    with torch.no_grad():
        weight.add_(1.0)
    model.losses(packed(), pairs, targets).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert name.startswith("similarity") != torch.equal(parameter.grad, taught[name]), name
    assert not torch.equal(model(packed(), pairs), scores)


def test_what_was_described_before_is_encoded_to_the_same(model: PairModel) -> None:
    known = replace(packed(), described=model.describe(packed()))
    torch.testing.assert_close(model.encode(known), model.encode(packed()), rtol=0, atol=0)


def test_new_data_change_the_scales_and_not_what_the_covariances_are_of(model: PairModel) -> None:
    """Else an ancestor's weights would stand for other things than they have learned."""
    before = model.describe(packed())
    model.shrink(0.5, [Packed(packed(seed=1).values * 3, packed().offsets)])
    torch.testing.assert_close(model.describe(packed()), before)


def test_a_block_of_scores_is_that_of_its_pairs(model: PairModel) -> None:
    states = model.encode(packed())
    block = model.score_block(states, states)
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    single = model.score(model.select(states, pairs[:, 0]), model.select(states, pairs[:, 1]))
    torch.testing.assert_close(block.flatten(), single, rtol=1e-5, atol=1e-5)
