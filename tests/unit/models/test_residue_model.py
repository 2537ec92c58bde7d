"""Tests that every residue model must pass, among them that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppi_train.errors import ConfigError
from ppi_train.models.base import Packed, PairModel
from ppi_train.models.registry import build_model
from ppi_train.models.residue_model import ResidueModel

MODELS = ("pair_transformer", "contact_map")
DIMENSION = 16
SMALL = {
    "pair_transformer": {"hidden_dim": 16, "heads": 4, "random_features": 64},
    "contact_map": {"hidden_dim": 12, "channels": 8},
}


def packed(lengths: list[int], seed: int = 0) -> Packed:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(lengths), DIMENSION, generator=generator) * 2 + 1
    return Packed(values, torch.tensor([0, *lengths]).cumsum(0))


def built(name: str, **changes: object) -> PairModel:
    torch.manual_seed(0)
    model = build_model(name, input_dim=DIMENSION, **{**SMALL[name], **changes})
    model.fit_input_statistics([packed([30, 50])])
    return model


def all_pairs(count: int) -> Tensor:
    return torch.combinations(torch.arange(count), with_replacement=True)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> PairModel:
    """After two steps, so that no weights and no running statistics are those of the start; evaluating."""
    made, proteins, pairs = built(request.param), packed([12, 1, 30, 7]), all_pairs(4)
    train(made, proteins, pairs, (pairs.sum(dim=1) % 2).float(), steps=2)
    return made.eval()


def logits(model: PairModel, proteins: Packed, pairs: Tensor) -> Tensor:
    states = model.encode(proteins)
    return model.score(model.select(states, pairs[:, 0]), model.select(states, pairs[:, 1]))


@torch.no_grad()
def test_the_order_of_a_pair_changes_no_bit(model: PairModel) -> None:
    proteins, pairs = packed([12, 1, 30, 12, 7]), all_pairs(5)
    assert torch.equal(logits(model, proteins, pairs), logits(model, proteins, pairs.flip(1)))


@torch.no_grad()
def test_a_score_does_not_depend_on_what_else_is_in_the_batch(model: PairModel) -> None:
    lengths = [12, 1, 30, 13, 7, 2, 61]
    proteins, pairs = packed(lengths), all_pairs(7)
    together = logits(model, proteins, pairs)
    alone = [
        logits(model, proteins.take(pair.unique()), torch.tensor([[0, len(pair.unique()) - 1]]))
        for pair in pairs
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert together.std() > 1e-3  # the scores tell pairs apart, so that being equal says something


@torch.no_grad()
def test_states_do_not_depend_on_what_else_is_encoded_and_join(model: PairModel) -> None:
    proteins = packed([12, 1, 30, 13])
    together = model.encode(proteins)
    joined = model.join([model.encode(proteins.take(torch.tensor([protein]))) for protein in range(4)])
    assert torch.equal(together.offsets, joined.offsets)
    torch.testing.assert_close(together.values, joined.values, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_states_given_whole_score_as_chosen_ones(model: PairModel) -> None:
    states = model.encode(packed([12, 1, 30, 13]))
    pairs = all_pairs(4)
    chosen = model.score(model.select(states, pairs[:, 0]), model.select(states, pairs[:, 1]))
    assert torch.equal(chosen, model.score(states.take(pairs[:, 0]), states.take(pairs[:, 1])))


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_which_of_two_motifs_a_protein_has(name: str) -> None:
    proteins, has_first = planted()
    chosen = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:80]
    pairs = all_pairs(len(proteins))[chosen]
    targets = (has_first[pairs[:, 0]] != has_first[pairs[:, 1]]).float()
    model = built(name, dropout=0.0)
    model.fit_input_statistics([proteins])
    train(model, proteins, pairs, targets, steps=40)
    model.eval()
    with torch.no_grad():
        assert auroc(logits(model, proteins, pairs), targets) > 0.95


def planted() -> tuple[Packed, Tensor]:
    """24 proteins of 10 to 18 residues, with one motif or the other somewhere; who has the first one."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(10, 19, (24,), generator=generator).tolist()
    proteins, motifs = packed(lengths), torch.randn(2, DIMENSION, generator=generator) * 4
    for number, start in enumerate(proteins.offsets[:-1].tolist()):
        place = start + int(torch.randint(lengths[number] - 4, (), generator=generator))
        proteins.values[place : place + 5] += motifs[number % 2]
    return proteins, torch.arange(24) % 2 == 0


def train(model: PairModel, proteins: Packed, pairs: Tensor, targets: Tensor, *, steps: int) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(steps):
        loss = model.losses(proteins, pairs, targets).mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(
            torch.isfinite(parameter.grad).all()
            for parameter in model.parameters()
            if parameter.grad is not None
        )
        optimizer.step()


def auroc(scores: Tensor, targets: Tensor) -> float:
    better = scores[targets == 1][:, None] - scores[targets == 0]
    return float(((better > 0).float() + (better == 0) / 2).mean())


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_from_one_vector_a_protein(name: str) -> None:
    """A cache of pooled embeddings: every protein is one residue, and a map of contacts one cell."""
    generator = torch.Generator().manual_seed(2)
    has_first = torch.arange(16) % 2 == 0
    motifs = torch.randn(2, DIMENSION, generator=generator) * 2
    vectors = motifs[has_first.long()] + torch.randn(16, DIMENSION, generator=generator)
    proteins, pairs = Packed.one_row_each(vectors), all_pairs(16)
    targets = (has_first[pairs[:, 0]] != has_first[pairs[:, 1]]).float()
    model = built(name, dropout=0.0)
    train(model, proteins, pairs, targets, steps=40)
    with torch.no_grad():
        assert auroc(logits(model.eval(), proteins, pairs), targets) > 0.95


@pytest.mark.parametrize("name", MODELS)
def test_one_pair_of_one_residue_each_can_be_learned_from(name: str) -> None:
    model = built(name).train()
    loss = model.losses(packed([1, 1]), torch.tensor([[0, 1]]), torch.tensor([1.0])).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(
        torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None
    )


@torch.no_grad()
def test_weights_and_what_training_noted_survive_a_reload(model: PairModel) -> None:
    others = [build_model(name, input_dim=DIMENSION, **SMALL[name]) for name in MODELS]
    other = next(other for other in others if type(other) is type(model))
    other.load_state_dict(model.state_dict())
    proteins, pairs = packed([12, 1, 30, 13]), all_pairs(4)
    for score, same in zip(
        scored(model, proteins, pairs), scored(other.eval(), proteins, pairs), strict=True
    ):
        assert torch.equal(score, same)


def scored(model: PairModel, proteins: Packed, pairs: Tensor) -> tuple[Tensor, Tensor]:
    states = model.encode(proteins)
    return model.score_with_uncertainty(model.select(states, pairs[:, 0]), model.select(states, pairs[:, 1]))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [40, 10_000])
def test_gradients_are_those_without_groups(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made again for the gradient, a group at a time, gives the gradient of doing all at once."""
    module = f"ppi_train.models.{name}.model"
    monkeypatch.setattr(f"{module}.{'_GROUP_ROWS' if name == 'pair_transformer' else '_GROUP_CELLS'}", rows)
    model = built(name, dropout=0.0)
    model.eval()  # running statistics, as those of a batch are those of a group
    proteins, pairs = packed([12, 1, 30, 13]), all_pairs(4)
    targets = (pairs.sum(dim=1) % 2).float()
    model.losses(proteins, pairs, targets).sum().backward()
    grouped = {
        key: parameter.grad.clone()
        for key, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    model.zero_grad()
    monkeypatch.setattr("ppi_train.models.residue_model.checkpoint", lambda function, *of, **_: function(*of))
    monkeypatch.setattr(f"{module}.{'_GROUP_ROWS' if name == 'pair_transformer' else '_GROUP_CELLS'}", 10**9)
    model.losses(proteins, pairs, targets).sum().backward()
    assert grouped
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(grouped[key], parameter.grad, atol=1e-4, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_of_a_protein_beyond_the_limit_evaluation_sees_both_ends(name: str) -> None:
    model = built(name, max_residues=10).eval()
    proteins = packed([34_350, 12])
    states = model.encode(proteins)
    assert states.lengths.tolist() == [10, 10]
    rows = torch.tensor([0, 1, 2, 3, 4, 34_345, 34_346, 34_347, 34_348, 34_349])
    ends = Packed(proteins.values[rows], torch.tensor([0, 10]))
    torch.testing.assert_close(model.encode(ends).values, states.values[:10], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_training_sees_another_window_of_a_long_protein_each_time(name: str) -> None:
    model = built(name, max_residues=10, dropout=0.0).train()
    proteins = packed([500])
    first, second = model.encode(proteins), model.encode(proteins)
    assert first.lengths.tolist() == second.lengths.tolist() == [10]
    assert not torch.equal(first.values, second.values)
    assert isinstance(model, ResidueModel)
    model.max_residues = 500
    whole = model.encode(proteins)
    if name == "contact_map":  # whose states do not depend on the other residues
        starts = [i for i in range(491) if torch.allclose(whole.values[i : i + 10], first.values, atol=1e-5)]
        assert len(starts) == 1


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_titin_is_scored_at_the_published_size(name: str) -> None:
    model = build_model(name, input_dim=DIMENSION).eval()
    pairs = torch.tensor([[0, 0], [0, 1], [1, 2]])
    assert torch.isfinite(logits(model, packed([34_350, 1, 300]), pairs)).all()


@pytest.mark.parametrize("name", MODELS)
def test_input_statistics_are_those_of_all_residues(name: str) -> None:
    model, proteins = built(name), packed([5, 1, 200, 33], seed=3)
    model.fit_input_statistics([proteins.take(torch.tensor(indices)) for indices in ([0, 1], [2], [3])])
    torch.testing.assert_close(model.mean, proteins.values.mean(dim=0))
    torch.testing.assert_close(1 / model.scale, proteins.values.std(dim=0, correction=0))


def test_states_of_half_precision_are_taken() -> None:
    proteins = packed([12, 30])
    half = Packed(proteins.values.half(), proteins.offsets)
    for name in MODELS:
        model = built(name).eval()
        torch.testing.assert_close(
            model.encode(half).values, model.encode(proteins).values, atol=2e-2, rtol=2e-2
        )


def test_a_model_that_keeps_no_residues_says_that_it_cannot_explain() -> None:
    model = build_model("pooled_mlp", input_dim=3)
    with pytest.raises(ConfigError, match="cannot explain a score by residues") as caught:
        model.explain(torch.randn(2, 3), torch.tensor([[0, 1]]))
    assert "PooledMlp" in str(caught.value)
