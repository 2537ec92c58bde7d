"""Tests of training that stops at any step and continues.

In a new process it must end as if it had not stopped.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from ppi_train.checkpoints import read_checkpoint
from ppi_train.config.fields import Interval, parse_interval
from ppi_train.errors import CheckpointError
from ppi_train.features import PairData, VectorFeatures
from ppi_train.models.base import PairModel
from ppi_train.runs.configs import TrainConfig
from ppi_train.training.callbacks import Callback, CheckpointSaver, MetricLogger, SaveInterval
from ppi_train.training.pair_task import PairTask
from ppi_train.training.signals import Interruption
from ppi_train.training.trainer import Trainer, without_epoch

STEPS_PER_EPOCH = 5
EPOCHS = 4
CLOCK = "system/pairs_per_second"


class DropoutModel(PairModel):
    """Draws random numbers at each step, so that a lost generator shows."""

    def __init__(self) -> None:
        super().__init__(8)
        self.encoder = nn.Linear(8, 16)
        self.head = nn.Linear(16, 1)

    def encode(self, proteins: Tensor) -> Tensor:
        return dropout(torch.tanh(self.encoder(proteins)), 0.3, self.training)

    def score_members(self, state_a: Tensor, state_b: Tensor) -> Tensor:
        logits: Tensor = self.head(state_a + state_b)
        return logits


def data(count: int, seed: int) -> PairData:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(40, 8, generator=torch.Generator().manual_seed(9))
    pairs = torch.randint(40, (count, 2), generator=generator)
    labels = (features[pairs].sum(dim=(1, 2)) + torch.randn(count, generator=generator) > 0).float()
    return PairData(features=VectorFeatures(features), pairs=pairs, labels=labels)


def ranking(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    better = (scores[labels == 1][:, None] > scores[labels == 0]).mean()
    return {"auroc": float(better), "auprc": float(better)}


def trainer(
    folder: Path,
    logged: dict[int, dict[str, float]],
    *,
    save: Callable[[], None] = lambda: None,
    checkpoint_every: str = "1 steps",
    **settings: Any,
) -> Trainer:
    """A small trainer that logs, saves and reacts to signals."""

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        logged[epoch] = {name: value for name, value in metrics.items() if name != CLOCK}

    callbacks = [CheckpointSaver(checkpoint_every, save), MetricLogger(log), Interruption()]
    return small_trainer(folder, callbacks, **settings)


def small_trainer(folder: Path, callbacks: Sequence[Callback], **settings: Any) -> Trainer:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "sampling": "uniform", "epochs": EPOCHS, "learning_rate": 0.1, "early_stopping_patience": 0,
        "amp": "off",
    }  # fmt: skip
    factor = settings.pop("shrink", None)
    batch_size = settings.pop("batch_size", 41)
    config = TrainConfig.of(**{**options, **settings})
    model = DropoutModel()

    def shrink() -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(factor)

    return Trainer(
        model,
        config.training,
        scheduler=config.scheduler,
        amp=config.compute.amp,
        task=PairTask(
            config.loss,
            seed=config.compute.seed,
            train=data(200, 0),
            validation=data(100, 1),
            ranking_metrics=ranking,
            batch_size=batch_size,
            share_proteins=config.sampling.sampling == "shared",
            fresh_negatives=config.sampling.fresh_negatives,
        ),
        checkpoints=folder,
        description={},
        callbacks=callbacks,
        warm_start=shrink if factor else None,
    )


class StoppedError(Exception):
    """Stands for the death of the process."""


SETTINGS: list[dict[str, Any]] = [
    {},
    {"scheduler": "plateau", "plateau_patience": 0, "early_stopping_metric": "val/loss"},
    {"scheduler": "one_cycle", "accumulation_steps": 2},
    {"amp": "fp16"},
    {"batch_size": 10, "sampling": "shared", "accumulation_steps": 3},
    {"fresh_negatives": True},
    {"class_weight": "balanced", "label_smoothing": 0.1, "early_stopping_patience": 2, "epochs": 8},
    {"shrink": 0.4},  # as finetuning does, after it has measured epoch 0
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_stopped_at_every_step_and_continued_each_time(tmp_path: Path, settings: dict[str, Any]) -> None:
    logged: dict[int, dict[str, float]] = {}
    whole = trainer(tmp_path / "whole", logged, **settings)
    whole.run()

    def stop() -> None:
        raise StoppedError

    logged_again: dict[int, dict[str, float]] = {}
    part = trainer(tmp_path / "parts", logged_again, save=stop, **settings)
    parts = 0
    while True:
        try:
            part.run()
            break
        except StoppedError:
            parts += 1
        torch.manual_seed(parts)  # whatever a new process has drawn before it continues
        part = trainer(tmp_path / "parts", logged_again, save=stop, **settings)
        kept = read_checkpoint(tmp_path / "parts" / "last", with_training_state=True)
        assert kept.training_state is not None
        part.continue_from(kept.weights, kept.training_state)
        for entry in part.result.history:
            metrics = without_epoch(entry)
            logged_again[int(entry["epoch"])] = {name: metrics[name] for name in metrics if name != CLOCK}
    assert parts >= whole.step
    assert part.step == whole.step
    assert logged_again == logged
    for name in ("best", "last"):
        whole_run, resumed_run = (read_checkpoint(tmp_path / run / name) for run in ("whole", "parts"))
        assert whole_run.description["counters"] == resumed_run.description["counters"]
        assert all(torch.equal(whole_run.weights[key], resumed_run.weights[key]) for key in whole_run.weights)
    assert_same(whole.state_dict(), part.state_dict())


def assert_same(first: object, second: object, place: str = "") -> None:
    """Equal to the last bit, but for what the clock says."""
    if isinstance(first, dict):
        assert isinstance(second, dict)
        for key in first.keys() - {"training_seconds", "seconds", CLOCK}:
            assert_same(first[key], second[key], f"{place}/{key}")
    elif isinstance(first, list):
        assert isinstance(second, list)
        assert len(first) == len(second), place
        for number, (left, right) in enumerate(zip(first, second, strict=True)):
            assert_same(left, right, f"{place}/{number}")
    elif isinstance(first, Tensor):
        assert isinstance(second, Tensor)
        assert torch.equal(first, second), place
    else:
        assert first == second, place


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupt_ends_training_after_the_step_at_hand_with_its_checkpoint(tmp_path: Path) -> None:
    steps: list[int] = []
    interrupted: Trainer = trainer(
        tmp_path, {}, checkpoint_every="3 steps", save=lambda: steps.append(interrupted.step)
    )
    handler = signal.getsignal(signal.SIGINT)

    def send(grad: Tensor) -> Tensor:
        if interrupted.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return grad

    interrupted.model.get_parameter("head.weight").register_hook(send)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    assert steps == [3, 6]
    assert read_checkpoint(tmp_path / "last").step == 7
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.usefixtures("_ctrl_c")
def test_a_second_interrupt_strikes_at_once_if_it_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppi_train.training.signals.PATIENCE", 0.0)
    interrupted = trainer(tmp_path, {}, checkpoint_every="1000 steps")

    def send(grad: Tensor) -> Tensor:
        if interrupted.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return grad

    interrupted.model.get_parameter("head.weight").register_hook(send)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    assert interrupted.step == 6
    assert read_checkpoint(tmp_path / "last").step == STEPS_PER_EPOCH


class TerminatedError(KeyboardInterrupt):
    """What a command makes of SIGTERM, so that its exit code tells it from Ctrl-C."""


def test_a_signal_during_the_last_validation_is_not_lost(tmp_path: Path) -> None:
    terminated = trainer(tmp_path, {}, checkpoint_every="1000 steps")

    def raise_it(number: int, frame: object) -> None:
        raise TerminatedError(number, frame)

    def send(module: nn.Module, arguments: object, output: object) -> None:
        del arguments, output
        if not module.training and terminated.units_done == terminated.units_total:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        terminated.model.get_submodule("encoder").register_forward_hook(send)
        with pytest.raises(TerminatedError):
            terminated.run()
        assert signal.getsignal(signal.SIGTERM) is raise_it
    finally:
        signal.signal(signal.SIGTERM, before)
    assert read_checkpoint(tmp_path / "last").step == EPOCHS * STEPS_PER_EPOCH


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    trained = trainer(tmp_path, {})
    trained.run()
    kept = read_checkpoint(tmp_path / "last", with_training_state=True)
    assert kept.training_state is not None
    del kept.training_state["scaler"]
    with pytest.raises(CheckpointError, match="does not fit this run"):
        trainer(tmp_path, {}).continue_from(kept.weights, kept.training_state)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("500 steps", Interval(steps=500)),
        ("1 step", Interval(steps=1)),
        ("10 minutes", Interval(seconds=600)),
        ("0.5min", Interval(seconds=30)),
        ("30 s", Interval(seconds=30)),
    ],
)
def test_intervals_that_can_be_read(text: str, interval: Interval) -> None:
    assert parse_interval(text) == interval


@pytest.mark.parametrize(
    "text", ["", "10", "steps", "0 steps", "1.5 steps", "-1 minutes", "2 hours", "1e3 steps"]
)
def test_intervals_that_cannot(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number and its unit"):
        parse_interval(text)


def test_a_save_interval_counts_steps_from_its_last_start() -> None:
    interval = SaveInterval(Interval(steps=3))
    interval.start(10)
    assert [step for step in range(10, 16) if interval.due(step)] == [13, 14, 15]
