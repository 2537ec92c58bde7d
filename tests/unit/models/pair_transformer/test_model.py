"""Tests of `pair_transformer`: pair order, spectral norm, deviations, and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppi_train.checkpoints import read_checkpoint
from ppi_train.errors import ConfigError
from ppi_train.evaluation.pair_metrics import ranking_metrics
from ppi_train.features import PackedFeatures, PairData
from ppi_train.models.base import Packed
from ppi_train.models.pair_transformer import PairTransformerOptions
from ppi_train.models.pair_transformer.model import PairTransformer
from ppi_train.models.v3.layers import EncoderLayer, SpectralLinear
from ppi_train.runs.configs import TrainConfig
from ppi_train.training.callbacks import Callback, CheckpointSaver
from ppi_train.training.pair_task import PairTask
from ppi_train.training.trainer import Trainer

DIMENSION = 8


def proteins(lengths: list[int]) -> Packed:
    values = torch.randn(sum(lengths), DIMENSION, generator=torch.Generator().manual_seed(0))
    return Packed(values, torch.tensor([0, *lengths]).cumsum(0))


def built() -> PairTransformer:
    torch.manual_seed(0)
    options = PairTransformerOptions(hidden_dim=16, heads=4, random_features=32, max_residues=12)
    return PairTransformer(DIMENSION, options)


@torch.no_grad()
def test_both_orders_of_a_pair_have_the_same_vector() -> None:
    """So that evaluation may compute one of them where the authors take the maximum over both."""
    model = built().eval()
    a, b = model.encode(proteins([9, 5])).values.split([9, 5])
    torch.testing.assert_close(model._mean_over_pair([(a, b)]), model._mean_over_pair([(b, a)]))


@torch.no_grad()
def test_residues_of_one_protein_see_those_of_the_other() -> None:
    layer = EncoderLayer(16, heads=4, inner=32, dropout=0.0)
    rows = torch.randn(10, 16)
    changed = rows.clone()
    changed[9] += 1
    both, other = (layer(Packed(values, torch.tensor([0, 10]))).values for values in (rows, changed))
    apart = layer(Packed(changed, torch.tensor([0, 5, 10]))).values
    alone = layer(Packed(rows, torch.tensor([0, 5, 10]))).values
    assert not torch.allclose(both[0], other[0], atol=1e-5)
    torch.testing.assert_close(alone[:5], apart[:5])


def test_maps_keep_a_largest_singular_value_of_one_while_they_learn() -> None:
    torch.manual_seed(0)
    linear = SpectralLinear(20, 12)
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        (linear(torch.randn(8, 20)) - 1).square().mean().backward()
        optimizer.step()
        linear.after_step()
    matrix = linear(torch.eye(20)) - linear.bias
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=0.02)


def test_a_frozen_encoder_stays_as_it_is_to_the_bit() -> None:
    model = built()
    model.freeze_encoder()
    before = {key: tensor.clone() for key, tensor in model.encoder.state_dict().items()}
    model.train()
    model.losses(proteins([9, 5]), torch.tensor([[0, 1]]), torch.tensor([1.0])).sum().backward()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.encoder.state_dict().items())


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads of attention do not divide") as caught:
        PairTransformer(DIMENSION, PairTransformerOptions(hidden_dim=10, heads=4))
    assert "hidden_dim=10, heads=4" in str(caught.value)


class StoppedError(Exception):
    """Stands for the death of the process."""


def trainer(folder: Path, *callbacks: Callback) -> Trainer:
    pairs = torch.randint(6, (12, 2), generator=torch.Generator().manual_seed(0))
    data = PairData(
        features=PackedFeatures(proteins([9, 1, 30, 14, 6, 20])), pairs=pairs, labels=labels_of(pairs)
    )
    config = TrainConfig.of(epochs=2, batch_size=5, early_stopping_patience=0, learning_rate=0.01)
    task = PairTask(
        config.loss,
        seed=config.compute.seed,
        train=data,
        validation=data,
        ranking_metrics=ranking_metrics,
        batch_size=config.sampling.batch_size or 8,
    )
    return Trainer(
        built(),
        config.training,
        scheduler=config.scheduler,
        amp="off",
        task=task,
        checkpoints=folder,
        description={},
        callbacks=callbacks,
    )


def labels_of(pairs: Tensor) -> Tensor:
    return (pairs.sum(dim=1) % 2).float()


def test_stopped_at_every_step_it_ends_with_the_same_weights_and_covariance(tmp_path: Path) -> None:
    trainer(tmp_path / "whole").run()

    def stop() -> None:
        raise StoppedError

    for part in range(20):
        again = trainer(tmp_path / "parts", CheckpointSaver("1 steps", stop))
        if part:
            torch.manual_seed(part)  # whatever a new process draws before it continues
            kept = read_checkpoint(tmp_path / "parts" / "last", with_training_state=True)
            assert kept.training_state is not None
            again.continue_from(kept.weights, kept.training_state)
        try:
            again.run()
            break
        except StoppedError:
            continue
    assert part >= 6
    for name in ("best", "last"):
        whole, parts = (read_checkpoint(tmp_path / run / name).weights for run in ("whole", "parts"))
        assert whole["output.precision"].abs().sum() > 0
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
