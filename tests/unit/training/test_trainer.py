"""Tests of the training loop on a small model.

It learns, is reproducible, and stops.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ppi_train.checkpoints import read_checkpoint
from ppi_train.errors import DeviceError, RankError, UserError
from ppi_train.features import PairData, ProteinIterator, VectorFeatures
from ppi_train.models.base import PairModel
from ppi_train.models.device import resolve_device
from ppi_train.runs.configs import TrainConfig
from ppi_train.training.callbacks import MetricLogger
from ppi_train.training.pair_task import PairTask, class_weights
from ppi_train.training.ranks import Ranks, SingleProcess
from ppi_train.training.trainer import Trainer

N_PROTEINS = 40
DIMENSION = 8


class SumModel(PairModel):
    """Scores the sum of two encoded proteins: symmetric, and enough for pairs that a line separates."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(DIMENSION)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder = nn.Linear(DIMENSION, 32)
            self.head = nn.Linear(32, 1)

    def encode(self, proteins: Tensor) -> Tensor:
        return torch.tanh(self.encoder(proteins))

    def score_members(self, state_a: Tensor, state_b: Tensor) -> Tensor:
        logits: Tensor = self.head(state_a + state_b)
        return logits


def _data(count: int = 200, seed: int = 0, *, noise: bool = False) -> PairData:
    """Pairs whose label is the side of a plane on which the sum of their features lies.

    With noise a third of the labels are a coin's, so that too much training shows in validation.
    """
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(N_PROTEINS, DIMENSION, generator=torch.Generator().manual_seed(99))
    pairs = torch.randint(N_PROTEINS, (count, 2), generator=generator)
    sides = features[pairs].sum(dim=1)[:, :2].sum(dim=1)
    coin = torch.rand(count, generator=generator) - 0.5
    tossed = torch.rand(count, generator=generator) < (1 / 3 if noise else 0.0)
    labels = (torch.where(tossed, coin, sides) > 0).float()
    return PairData(features=VectorFeatures(features), pairs=pairs, labels=labels)


def _features(data: PairData) -> Tensor:
    return next(iter(ProteinIterator(data.features)))  # type: ignore[no-any-return]


def _ranking(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "auprc": float(average_precision_score(labels, scores)),
    }


def _trainer(
    folder: Path,
    *,
    train: PairData | None = None,
    validation: PairData | None = None,
    logged: list[tuple[int, dict[str, float]]] | None = None,
    ranks: Ranks | None = None,
    **settings: Any,
) -> Trainer:
    torch.manual_seed(0)

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        if logged is not None:
            logged.append((epoch, dict(metrics)))

    batch_size = settings.pop("batch_size", 50)
    options: dict[str, Any] = {
        "learning_rate": 0.02,
        "weight_decay": 0.01,
        "gradient_clip": 1.0,
        "label_smoothing": 0.0,
        "early_stopping_metric": "val/auroc",
        "early_stopping_patience": 0,
        "scheduler": "cosine",
        "warmup_fraction": 0.05,
        "amp": "off",
    }
    config = TrainConfig.of(**{**options, **settings})
    task = PairTask(
        config.loss,
        seed=config.compute.seed,
        train=_data() if train is None else train,
        validation=_data(100, seed=1) if validation is None else validation,
        ranking_metrics=_ranking,
        batch_size=batch_size,
    )
    return Trainer(
        SumModel(),
        config.training,
        scheduler=config.scheduler,
        amp=config.compute.amp,
        task=task,
        checkpoints=folder,
        description={"model": {"name": "sum"}},
        callbacks=[MetricLogger(log)],
        ranks=ranks,
    )


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def _without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if name != "system/pairs_per_second"}
        for entry in history
    ]


def _assert_close(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-4, atol=1e-6)


def test_overfits_separable_pairs_and_logs_every_epoch(tmp_path: Path) -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    trainer = _trainer(tmp_path, validation=_data(), logged=logged, epochs=40)
    result = trainer.run()
    assert result.history[-1]["train/loss"] < 0.1
    assert result.history[-1]["val/auroc"] > 0.999
    assert result.units_seen == 40 * 200
    assert trainer.step == 40 * 4
    assert [epoch for epoch, _ in logged] == list(range(1, 41))
    for (_, metrics), entry in zip(logged, result.history, strict=True):
        assert {"epoch": entry["epoch"], **metrics} == entry
        assert metrics.keys() == {
            "train/loss",
            "train/learning_rate",
            "system/pairs_per_second",
            "val/loss",
            "val/auroc",
            "val/auprc",
        }
        assert metrics["system/pairs_per_second"] > 0
    rates = [metrics["train/learning_rate"] for _, metrics in logged]
    assert max(rates) == pytest.approx(0.02, rel=0.01)
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_the_same_seed_gives_the_same_bits(tmp_path: Path, amp: str) -> None:
    runs = []
    for name in "ab":
        trainer = _trainer(tmp_path / name, epochs=4, amp=amp, seed=3)
        runs.append((_without_times(trainer.run().history), _weights(trainer)))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(tensor, runs[1][1][name]) for name, tensor in runs[0][1].items())
    other = _trainer(tmp_path / "c", epochs=4, amp=amp, seed=4).run()
    assert _without_times(other.history) != runs[0][0]


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    # 200 pairs in groups of 90: the last group is short, and its last batch too.
    shared: dict[str, Any] = {"epochs": 3, "label_smoothing": 0.1, "class_weight": "balanced"}
    small = _trainer(tmp_path / "small", batch_size=30, accumulation_steps=3, **shared)
    large = _trainer(tmp_path / "large", batch_size=90, **shared)
    losses = [[entry["train/loss"] for entry in trainer.run().history] for trainer in (small, large)]
    assert small.step == large.step == 9
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    _assert_close(_weights(small), _weights(large))


def test_early_stopping_keeps_the_best_epoch_and_the_last(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "train": _data(noise=True),
        "validation": _data(100, seed=1, noise=True),
        "scheduler": "none",
        "early_stopping_metric": "val/loss",
    }
    trainer = _trainer(tmp_path / "run", epochs=50, early_stopping_patience=3, **settings)
    result = trainer.run()
    losses = [entry["val/loss"] for entry in result.history]
    best = int(np.argmin(losses)) + 1
    assert trainer.finished
    assert best > 1
    assert len(losses) == best + 3 < 50
    assert result.best == result.history[best - 1]

    kept = read_checkpoint(tmp_path / "run" / "best", with_training_state=True)
    assert kept.description["counters"] == {"epoch": best, "step": best * 4}
    assert kept.description["metrics"]["val/loss"] == min(losses)
    assert kept.description["model"] == {"name": "sum"}
    assert kept.training_state is None
    until_best = _trainer(tmp_path / "again", epochs=best, **settings)
    until_best.run()
    assert all(torch.equal(tensor, kept.weights[name]) for name, tensor in _weights(until_best).items())

    last = read_checkpoint(tmp_path / "run" / "last", with_training_state=True)
    assert last.description["counters"] == {"epoch": best + 3, "step": (best + 3) * 4}
    assert all(torch.equal(tensor, last.weights[name]) for name, tensor in _weights(trainer).items())
    assert last.training_state is not None
    assert last.training_state["epochs_without_gain"] == 3
    assert last.training_state["best"] == result.best


def test_a_patience_of_none_trains_to_the_last_epoch(tmp_path: Path) -> None:
    noise: dict[str, Any] = {"train": _data(noise=True), "validation": _data(100, seed=1, noise=True)}
    settings: dict[str, Any] = {"early_stopping_metric": "val/loss", "learning_rate": 0.1}
    result = _trainer(tmp_path, epochs=20, **settings, **noise).run()
    assert len(result.history) == 20
    assert result.best["epoch"] < 15


def test_for_a_ranking_metric_more_is_better(tmp_path: Path) -> None:
    noise: dict[str, Any] = {"train": _data(noise=True), "validation": _data(100, seed=1, noise=True)}
    result = _trainer(tmp_path, epochs=12, early_stopping_metric="val/auprc", **noise).run()
    assert result.best["val/auprc"] == max(entry["val/auprc"] for entry in result.history)
    assert result.best["val/auprc"] > result.history[-1]["val/auprc"]


def test_plateau_lowers_the_rate_when_validation_no_longer_improves(tmp_path: Path) -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    noise: dict[str, Any] = {"train": _data(noise=True), "validation": _data(100, seed=1, noise=True)}
    settings: dict[str, Any] = {"scheduler": "plateau", "plateau_patience": 0, "warmup_fraction": 0.0}
    _trainer(tmp_path, logged=logged, epochs=10, early_stopping_metric="val/loss", **noise, **settings).run()
    best, expected, rate = math.inf, [], 0.02
    for _, metrics in logged:
        expected.append(rate)
        rate = rate if metrics["val/loss"] < best else rate / 2
        best = min(best, metrics["val/loss"])
    assert [metrics["train/learning_rate"] for _, metrics in logged] == pytest.approx(expected)
    assert rate < 0.02


def test_balanced_classes_weigh_as_if_the_rarer_were_repeated(tmp_path: Path) -> None:
    everything = _data(400)
    positive = everything.labels == 1
    rows = torch.cat([(~positive).nonzero()[:150], positive.nonzero()[:50]]).squeeze(1)

    def chosen(order: Tensor) -> PairData:
        return PairData(
            features=everything.features, pairs=everything.pairs[order], labels=everything.labels[order]
        )

    shared: dict[str, Any] = {"epochs": 3, "batch_size": 1000}
    balanced = _trainer(tmp_path / "a", train=chosen(rows), class_weight="balanced", **shared)
    repeated = _trainer(tmp_path / "b", train=chosen(torch.cat([rows, rows[150:], rows[150:]])), **shared)
    plain = _trainer(tmp_path / "c", train=chosen(rows), **shared)
    losses = [
        [entry["train/loss"] for entry in trainer.run().history] for trainer in (balanced, repeated, plain)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)
    _assert_close(_weights(balanced), _weights(repeated))


def test_class_weights_of_one_class_alone_are_finite() -> None:
    assert class_weights(torch.ones(4), "none") is None
    weights = class_weights(torch.tensor([0.0, 0.0, 0.0, 1.0]), "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])
    alone = class_weights(torch.ones(4), "balanced")
    assert alone is not None
    assert alone.isfinite().all()


def test_label_smoothing_changes_the_loss_as_by_its_formula(tmp_path: Path) -> None:
    data = _data()
    with torch.no_grad():
        logits = SumModel()(_features(data), data.pairs).squeeze(1)
    for smoothing in (0.0, 0.2):
        trainer = _trainer(tmp_path, epochs=1, batch_size=200, label_smoothing=smoothing, validation=data)
        # One step on all pairs: the logged loss is that of the initial weights.
        loss = trainer.run().history[0]["train/loss"]
        target = torch.where(data.labels == 1, 1 - smoothing / 2, smoothing / 2)
        expected = -(target * logsigmoid(logits) + (1 - target) * logsigmoid(-logits)).mean()
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_the_validation_loss_is_neither_smoothed_nor_weighted(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, label_smoothing=0.5, class_weight="balanced")
    data = _data(100, seed=1)
    with torch.no_grad():
        logits = trainer.model(_features(data), data.pairs).squeeze(1)
    expected = torch.where(data.labels == 1, -logsigmoid(logits), -logsigmoid(-logits)).mean()
    assert trainer.validate()["val/loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_clipping_bounds_the_gradient(tmp_path: Path, amp: str) -> None:
    """AdamW's step hides the size of a gradient, so plain descent of rate 1 shows it here."""
    norms = []
    for clip in (0.0, 1.0, 1e-3):
        trainer = _trainer(tmp_path, gradient_clip=clip, amp=amp)
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=1.0)  # type: ignore[assignment]
        before = _weights(trainer)
        trainer._optimiser_step(iter(trainer.task.load([torch.arange(50)])), range(1), [50])
        moved = [(tensor - before[name]).flatten() for name, tensor in _weights(trainer).items()]
        norms.append(torch.cat(moved).norm().item())
    assert 1e-2 < norms[0] < 1.0
    assert norms[1:] == pytest.approx([norms[0], 1e-3], rel=0.01)


@pytest.mark.parametrize(
    ("batch_size", "what"),
    [
        (50, "training diverged: the loss is not a finite number"),
        # One step an epoch: its loss is still that of the initial weights.
        (1000, "training diverged: the validation scores are not finite numbers"),
    ],
)
def test_a_diverging_run_ends_with_what_to_change(tmp_path: Path, batch_size: int, what: str) -> None:
    trainer = _trainer(tmp_path, batch_size=batch_size, learning_rate=1e38, scheduler="none")
    with pytest.raises(UserError) as caught:
        trainer.run()
    message = str(caught.value)
    assert message.startswith(f"{what}\n  where: epoch 1\n")
    assert "to do: lower learning_rate" in message
    assert not (tmp_path / "last").exists()


def test_bf16_trains_with_other_numbers_than_full_precision(tmp_path: Path) -> None:
    full, half = (_trainer(tmp_path / amp, epochs=10, amp=amp).run() for amp in ("off", "bf16"))
    assert half.history[-1]["val/auroc"] > 0.95
    assert half.history[0]["train/loss"] != full.history[0]["train/loss"]
    assert half.history[0]["train/loss"] == pytest.approx(full.history[0]["train/loss"], rel=0.02)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_fp16_trains_with_scaled_gradients(tmp_path: Path, clip: float) -> None:
    trainer = _trainer(tmp_path, epochs=10, amp="fp16", gradient_clip=clip)
    result = trainer.run()
    assert result.history[-1]["val/auroc"] > 0.95
    state = read_checkpoint(tmp_path / "last", with_training_state=True).training_state
    assert state is not None
    assert state["scaler"]["scale"] == trainer.scaler.get_scale() > 1
    assert {tensor.dtype for tensor in _weights(trainer).values()} == {torch.float32}


def test_the_training_state_is_plain_data(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, epochs=2)
    trainer.run()
    state = read_checkpoint(tmp_path / "last", with_training_state=True).training_state
    assert state is not None
    assert (state["epoch"], state["step"], len(state["history"])) == (2, 8, 2)
    again = _trainer(tmp_path / "other", epochs=2)
    again.optimizer.load_state_dict(state["optimizer"])
    for moments, expected in itertools.zip_longest(
        again.optimizer.state.values(), trainer.optimizer.state.values()
    ):
        assert torch.equal(moments["exp_avg"], expected["exp_avg"])
    assert "rng" not in state, "what a batch draws follows from the seed, the epoch and its number"


def test_a_cuda_device_that_is_absent_is_not_replaced() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(DeviceError) as caught:
            resolve_device(name)
        message = str(caught.value)
        assert "the device that was asked for is not here" in message
        assert f"got: device={name}\n  expected: one of: cpu\n" in message
        assert "give device=cpu, or device=auto" in message


def test_auto_says_which_device_it_took(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        device = resolve_device("auto")
    assert f"device=auto took {device.type}" in caplog.text
    assert resolve_device("cpu") == torch.device("cpu")


class _LostInValidation(SingleProcess):
    """Ranks of which one is lost in the validation of the second epoch."""

    validations = 0

    def from_first(self, make: Callable[[], Any]) -> Any:
        self.validations += 1
        if self.validations == 2:
            raise RankError("a process of the training was lost", where="rank 1")
        return make()


def test_a_rank_lost_in_validation_costs_no_step(tmp_path: Path) -> None:
    undisturbed = _trainer(tmp_path / "undisturbed", epochs=3)
    expected = undisturbed.run()
    with pytest.raises(RankError, match="rank 1"):
        _trainer(tmp_path / "lost", epochs=3, ranks=_LostInValidation()).run()
    left = read_checkpoint(tmp_path / "lost/last", with_training_state=True)
    assert left.training_state is not None
    assert (left.step, left.training_state["epoch"], left.training_state["part"]["batches"]) == (8, 1, 4)
    continued = _trainer(tmp_path / "lost", epochs=3)
    continued.continue_from(left.weights, left.training_state)
    assert _without_times(continued.run().history) == _without_times(expected.history)
    for name, tensor in _weights(undisturbed).items():
        assert torch.equal(tensor, _weights(continued)[name])
