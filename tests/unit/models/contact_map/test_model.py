"""Tests of `contact_map`: maps, transposition, and explanation of scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from ppi_train.models.base import Packed
from ppi_train.models.contact_map import ContactMapOptions
from ppi_train.models.contact_map.cells import BLOCK_CELLS
from ppi_train.models.contact_map.model import AboveMeanPool, ContactMap, MapNorm

DIMENSION = 6
LENGTHS = [23, 9, 31, 1]


def proteins() -> Packed:
    values = torch.randn(sum(LENGTHS), DIMENSION, generator=torch.Generator().manual_seed(0))
    return Packed(values, torch.tensor([0, *LENGTHS]).cumsum(0))


@pytest.fixture
def model() -> ContactMap:
    """With statistics of maps that it has seen, in evaluation mode."""
    torch.manual_seed(0)
    made = ContactMap(DIMENSION, ContactMapOptions(hidden_dim=10, channels=7, max_residues=40)).train()
    pairs = torch.combinations(torch.arange(3), with_replacement=True)
    for _ in range(5):
        made.losses(proteins(), pairs, torch.ones(6))
    return made.eval()


def plain_map(model: ContactMap, a: Tensor, b: Tensor) -> Tensor:
    """From states (i, d) and (j, d), all channels at once, as the description has it."""
    channels = torch.cat([(a[:, None] - b).abs(), a[:, None] * b], dim=2)
    weights = torch.cat([model.cells.difference, model.cells.product], dim=1)
    cells = (channels @ weights.t() + model.cells.bias).relu()
    cells = (cells - model.norm_cells.running_mean) / (model.norm_cells.running_variance + 1e-5).sqrt()
    kernel = (model.convolution.weight + model.convolution.weight.transpose(2, 3)) / 2
    contacts = conv2d(cells.permute(2, 0, 1)[None], kernel, model.convolution.bias, padding=3)[0, 0]
    norm = model.norm_contacts
    return torch.sigmoid((contacts - norm.running_mean) / (norm.running_variance + 1e-5).sqrt())


@torch.no_grad()
@pytest.mark.parametrize("block", [1, 50, 10**6])
def test_maps_are_those_of_the_plain_formula(
    model: ContactMap, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BLOCK_CELLS, "cpu", block)
    pairs = torch.combinations(torch.arange(4), with_replacement=True)
    states = model.encode(proteins()).values.split(LENGTHS)
    for found, (a, b) in zip(model.contacts(proteins(), pairs), pairs.tolist(), strict=True):
        torch.testing.assert_close(found, plain_map(model, states[a], states[b]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_score_is_that_of_the_plain_formula(model: ContactMap) -> None:
    """Of a group in which each map is padded, too."""
    model.pool.floor.fill_(0.3)
    model.pool.narrowness.fill_(0.7)
    model.pool.variances.fill_(0.5)
    states = model.encode(proteins())
    pairs = torch.combinations(torch.arange(3), with_replacement=True)
    scores = model.score(model.select(states, pairs[:, 0]), model.select(states, pairs[:, 1]))
    parts = states.values.split(LENGTHS)
    for score, (a, b) in zip(scores, pairs.tolist(), strict=True):
        contacts = plain_map(model, parts[a], parts[b])
        bells = [torch.exp(-0.7 * ((torch.arange(n) + 1 - (n + 1) / 2) / ((n + 1) / 2)) ** 2)
                 for n in contacts.shape]  # fmt: skip
        squares = max_pool2d((contacts * (0.7 * bells[0][:, None] * bells[1] + 0.3))[None], 9, padding=4)[0]
        above = (squares - squares.mean() - 0.5 * squares.var(correction=0)).relu()
        alone = squares.numel() == 1  # of 9 residues and 9: nothing is above its mean
        pooled = squares.sum() if alone else above.sum() / ((above > 0).sum() + 1)
        torch.testing.assert_close(score, 20 * (pooled - 0.5), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_map_of_the_exchanged_pair_is_the_transpose(model: ContactMap) -> None:
    pairs = torch.tensor([[0, 1], [0, 2], [2, 3]])
    there, back = model.contacts(proteins(), pairs), model.contacts(proteins(), pairs.flip(1))
    assert [tuple(residue_map.shape) for residue_map in there] == [(23, 9), (23, 31), (31, 1)]
    assert all(torch.equal(first, second.t()) for first, second in zip(there, back, strict=True))


def test_the_weights_of_residues_are_their_likeliest_contacts(model: ContactMap) -> None:
    pairs = torch.tensor([[0, 1], [2, 0]])
    weights_a, weights_b = model.explain(proteins(), pairs)
    for number, contacts in enumerate(model.contacts(proteins(), pairs)):
        assert torch.equal(weights_a[number], contacts.max(dim=1).values)
        assert torch.equal(weights_b[number], contacts.max(dim=0).values)


def test_residues_beyond_the_limit_have_no_weight(model: ContactMap) -> None:
    model.max_residues = 10
    weights, _ = model.explain(proteins(), torch.tensor([[2, 1]]))
    assert len(weights[0]) == 31
    assert weights[0][5:26].abs().sum() == 0
    assert (weights[0][:5] > 0).all()
    assert (weights[0][26:] > 0).all()


@torch.no_grad()
def test_pairs_unlike_those_of_training_are_less_certain(model: ContactMap) -> None:
    """The pairs of training, seen often, are all but certain; a map of nothing but touch was never seen."""
    known = torch.combinations(torch.arange(3), with_replacement=True)
    model.slope.fill_(1.0)  # a probability of 0 or 1 would say that there is nothing to be learned
    model.train()
    for _ in range(1000 // len(known)):
        model.losses(proteins(), known, torch.ones(6))
    model.eval()
    states = model.encode(proteins())
    sides = [model.select(states, known[:, side]) for side in (0, 1)]
    logits, familiar = model.score_with_uncertainty(*sides)
    assert torch.equal(logits, model.score(*sides))
    model.norm_contacts.running_mean -= 20
    _, strange = model.score_with_uncertainty(*sides)
    assert (familiar < 0.5).all()
    assert (strange > 2 * familiar.max()).all()


def test_a_sparser_loss_makes_emptier_maps() -> None:
    filled = []
    for sparsity in (0.0, 0.9):
        torch.manual_seed(0)
        model = ContactMap(DIMENSION, ContactMapOptions(hidden_dim=10, channels=7, sparsity=sparsity)).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
        pairs = torch.tensor([[0, 1], [0, 2], [1, 2]])
        for _ in range(40):
            optimizer.zero_grad()
            model.losses(proteins(), pairs, torch.zeros(3)).mean().backward()
            optimizer.step()
        maps = model.eval().contacts(proteins(), pairs)
        filled.append(torch.stack([residue_map.mean() for residue_map in maps]).mean().item())
    assert filled[1] < 0.8 * filled[0]


def test_statistics_of_padded_maps_are_those_of_the_maps() -> None:
    torch.manual_seed(0)
    norm, whole = MapNorm(4).train(), torch.randn(1, 4, 6, 5) * 3 + 1
    padded, own = torch.zeros(1, 4, 9, 7), torch.zeros(1, 1, 9, 7)
    padded[..., :6, :5], own[..., :6, :5] = whole, 1
    expected, statistics = norm(whole, None)
    found, same = norm(padded, own)
    torch.testing.assert_close(found[..., :6, :5], expected)
    torch.testing.assert_close(same, statistics)
    torch.testing.assert_close(statistics[0], whole.mean(dim=(0, 2, 3)))
    for _ in range(200):
        norm.see(statistics)
    torch.testing.assert_close(norm.eval()(whole, None)[0], expected)


def test_one_cell_is_its_own_number() -> None:
    pool = AboveMeanPool(9)
    length = torch.tensor([1])
    assert pool(torch.tensor([[[0.8]]]), length, length).item() == pytest.approx(0.8, abs=0.01)
