"""Tests of `pooled_mlp` and the registry: symmetry, encodings, and reloading."""

from __future__ import annotations

import pytest
import torch

from ppi_train.errors import ConfigError
from ppi_train.models.base import PairModel
from ppi_train.models.registry import MODEL_FACTORIES, build_model, register

HYPERPARAMETERS = {"hidden_dim": 16, "num_layers": 2, "dropout": 0.1, "input_dropout": 0.1, "members": 3}


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(40, 12, generator=torch.Generator().manual_seed(0)) * 7 + 3


@pytest.fixture
def model(features: torch.Tensor) -> PairModel:
    torch.manual_seed(0)
    built = build_model("pooled_mlp", input_dim=12, **HYPERPARAMETERS)
    built.fit_input_statistics([features])
    return built.eval()


def test_the_order_of_a_pair_changes_no_bit(model: PairModel, features: torch.Tensor) -> None:
    pairs = torch.randint(0, 40, (500, 2), generator=torch.Generator().manual_seed(1))
    assert torch.equal(model(features, pairs), model(features, pairs.flip(1)))


def test_a_protein_can_be_paired_with_itself(model: PairModel, features: torch.Tensor) -> None:
    assert torch.isfinite(model(features, torch.tensor([[3, 3]]))).all()


def test_each_distinct_protein_is_encoded_once(model: PairModel, features: torch.Tensor) -> None:
    rows: list[int] = []
    model.encoder.register_forward_hook(lambda _module, _inputs, states: rows.append(len(states)))
    model(features, torch.randint(0, 40, (300, 2)))
    assert rows == [40]


def test_forward_is_encode_then_score(model: PairModel, features: torch.Tensor) -> None:
    pairs = torch.tensor([[0, 1], [2, 3], [1, 0]])
    states = model.encode(features)
    logits = model.score(states[pairs[:, 0]], states[pairs[:, 1]])
    torch.testing.assert_close(model(features, pairs).mean(dim=1), logits)


def test_weights_and_input_statistics_survive_a_reload(model: PairModel, features: torch.Tensor) -> None:
    other = build_model("pooled_mlp", input_dim=12, **HYPERPARAMETERS).eval()
    other.load_state_dict(model.state_dict())
    pairs = torch.randint(0, 40, (50, 2))
    assert torch.equal(model(features, pairs), other(features, pairs))


def test_units_of_the_input_do_not_matter(model: PairModel, features: torch.Tensor) -> None:
    other = build_model("pooled_mlp", input_dim=12, **HYPERPARAMETERS).eval()
    other.load_state_dict(model.state_dict())
    other.fit_input_statistics([features * 1000])
    torch.testing.assert_close(other.encode(features * 1000), model.encode(features), atol=1e-4, rtol=1e-4)


def test_a_constant_feature_is_ignored_and_not_divided_by(features: torch.Tensor) -> None:
    features[:, 0] = 5.0
    built = build_model("pooled_mlp", input_dim=12, **HYPERPARAMETERS).eval()
    built.fit_input_statistics([features])
    elsewhere = features.clone()
    elsewhere[:, 0] = 6.0
    assert torch.equal(built.encode(features), built.encode(elsewhere))


def test_training_hides_dimensions_and_evaluation_none(model: PairModel, features: torch.Tensor) -> None:
    assert torch.equal(model.encode(features), model.encode(features))
    model.train()
    assert not torch.equal(model.encode(features), model.encode(features))


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="there is no such model") as caught:
        build_model("poled_mlp", input_dim=3)
    assert "did you mean pooled_mlp?" in str(caught.value)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(AssertionError, match="two models are named 'pooled_mlp'"):
        register("pooled_mlp")(MODEL_FACTORIES["pooled_mlp"])


def test_shrinking_scales_the_matrices_and_takes_the_new_features_scale() -> None:
    model = build_model("pooled_mlp", input_dim=3, hidden_dim=4, num_layers=1, dropout=0.0, input_dropout=0.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    features = torch.tensor([[1.0, 0.0, 5.0], [3.0, 0.0, 5.0]])
    model.shrink(0.5, [features])
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name] * 0.5 if weight.ndim > 1 else before[name]), name
    assert model.mean.tolist() == [2.0, 0.0, 5.0]
    assert model.scale.tolist() == [1.0, 0.0, 0.0]


def test_nothing_of_a_frozen_encoders_model_is_shrunk() -> None:
    model = build_model("pooled_mlp", input_dim=3, hidden_dim=4, num_layers=1, dropout=0.0, input_dropout=0.0)
    model.freeze_encoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.shrink(0.5, [torch.randn(5, 3)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_block_is_scored_as_its_pairs(model: PairModel, features: torch.Tensor) -> None:
    states = model.encode(features)
    block = model.score_block(states[:15], states[10:])
    a, b = (axis.flatten() for axis in torch.meshgrid(torch.arange(15), torch.arange(10, 40), indexing="ij"))
    torch.testing.assert_close(block.flatten(), model.score(states[a], states[b]), rtol=0, atol=1e-5)
