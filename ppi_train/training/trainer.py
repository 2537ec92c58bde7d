"""The training loop: epochs, validation, checkpoints and early stopping."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ppi_train.checkpoints import write_checkpoint
from ppi_train.config.interval import Interval, parse_interval
from ppi_train.config.schema import LoopConfig
from ppi_train.errors import CheckpointError, UserError
from ppi_train.io.progress import Progress
from ppi_train.models.device import autocast
from ppi_train.training.optim import Schedule, build_optimizer
from ppi_train.training.signals import Interruption
from ppi_train.training.task import Task


class SaveInterval:
    """Reports when an interval since the last `start` is over."""

    def __init__(self, interval: Interval) -> None:
        self._interval = interval
        self.start(0)

    def start(self, step: int) -> None:
        """Restarts the interval at this step and the present time."""
        self._last_step, self._last_time = step, time.monotonic()

    def due(self, step: int) -> bool:
        if self._interval.steps is not None:
            return step - self._last_step >= self._interval.steps
        assert self._interval.seconds is not None
        return time.monotonic() - self._last_time >= self._interval.seconds


MetricSink = Callable[[Mapping[str, float], int], None]


@dataclass(kw_only=True)
class TrainResult:
    """The in-memory result of a training run.

    The weights are in the checkpoints.

    `history` has one entry an epoch, metrics by name and `epoch`; `best` is the entry of the epoch
    that the best checkpoint holds; `first_step_at` is in seconds since the Unix epoch.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    first_step_at: float = 0.0
    training_seconds: float = 0.0
    units_seen: int = 0

    @property
    def units_per_second(self) -> float:
        """Throughput of training in the task's units, validation excluded."""
        return self.units_seen / max(self.training_seconds, 1e-9)


@dataclass(kw_only=True)
class EpochPart:
    """Progress within the present epoch.

    `batches` are done, with `items` in all, whose losses sum to `loss_sum`.
    """

    batches: int = 0
    items: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


class Trainer:
    """Trains a model for a task, and holds all checkpointed state.

    Args:
        model: The model, on the task's device.
        config: Hyper-parameters.
        task: What it learns from.
        log: Called with metrics by name and the epoch.
        checkpoints: Folder for `best` and `last`.
        description: The checkpoints' description of model and data, as plain JSON.
        keep: Called to upload `last` each time that `checkpoint_every` has passed.
        warm_start: For weights from another training: they are validated as epoch 0, and may be the
            best; then this function prepares them for the first step.
    """

    def __init__(
        self,
        model: nn.Module,
        config: LoopConfig,
        *,
        task: Task,
        log: MetricSink,
        checkpoints: Path,
        description: Mapping[str, object],
        keep: Callable[[], None] = lambda: None,
        warm_start: Callable[[], None] | None = None,
    ) -> None:
        self.model, self.config, self.task = model, config, task
        self._log, self._keep = log, keep
        self._checkpoints, self._description = checkpoints, description
        self._warm_start = warm_start
        self.device = task.device
        self.optimizer = build_optimizer(model, config)
        self._steps_per_epoch = -(-task.n_batches // config.accumulation_steps)
        self.schedule = Schedule(
            self.optimizer,
            config,
            peak=config.learning_rate,
            total_steps=self._steps_per_epoch * config.epochs,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.amp == "fp16")
        self.epoch = self.step = self._epochs_without_gain = 0
        self._part = EpochPart()
        self._cadence = SaveInterval(parse_interval(config.checkpoint_every))
        self.result = TrainResult()

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or training stops early."""
        patience = self.config.early_stopping_patience
        return self.epoch >= self.config.epochs or (0 < patience <= self._epochs_without_gain)

    def run(self) -> TrainResult:
        """Trains from the present state to the last epoch or early stopping.

        Raises:
            UserError: the loss is no longer a finite number.
            KeyboardInterrupt: Ctrl-C or SIGTERM, after the current step; the state is in `last`.
        """
        size, units = self.task.size, self.task.units_per_item
        done = units * (self.epoch * size + self._part.items)
        total = units * self.config.epochs * size
        self._cadence.start(self.step)
        with Progress(total, done=done, unit=self.task.unit) as progress, Interruption() as interruption:
            if self._warm_start and not self.result.history:
                self._measure_start(progress, self._warm_start)
            while not self.finished:
                self._one_epoch(progress, interruption)
        return self.result

    def _measure_start(self, progress: Progress, warm_start: Callable[[], None]) -> None:
        """Validates the initial weights as epoch 0."""
        metrics = self.validate()
        self._close_epoch(metrics, before_last=warm_start)
        progress.say(self._epoch_line(metrics, best=True))

    def _one_epoch(self, progress: Progress, interruption: Interruption) -> None:
        train_loss, seconds = self._train_epoch(progress, interruption)
        self.epoch += 1
        self._part = EpochPart()
        metrics = {
            "train/loss": train_loss,
            "train/learning_rate": self.optimizer.param_groups[0]["lr"],
            self._rate: self.task.size * self.task.units_per_item / seconds,
            **self.validate(),
        }
        improved = self._close_epoch(metrics)
        progress.say(self._epoch_line(metrics, best=improved))

    @property
    def _rate(self) -> str:
        return f"throughput/{self.task.unit}s_per_second"

    def _epoch_line(self, metrics: Mapping[str, float], *, best: bool) -> str:
        parts = [f"{self.task.round_name} {self.epoch}/{self.config.epochs}"]
        if "train/loss" in metrics:
            parts.append(f"train loss {metrics['train/loss']:.4f}")
        parts.append(self.task.headline(metrics))
        if self._rate in metrics:
            parts.append(f"{metrics[self._rate]:,.0f} {self.task.unit}s/s")
        return "  ".join(parts) + ("  (best so far)" if best else "")

    def _close_epoch(
        self, metrics: Mapping[str, float], *, before_last: Callable[[], None] = lambda: None
    ) -> bool:
        """Records an epoch's metrics, updates the schedule, and writes checkpoints."""
        self.result.history.append({"epoch": float(self.epoch), **metrics})
        # The schedule and the comparison both expect "lower is better".
        sign = 1.0 if self.config.early_stopping_metric == "val/loss" else -1.0
        loss_like = sign * metrics[self.config.early_stopping_metric]
        if self.epoch:
            self.schedule.after_epoch(loss_like)
        improved = self._note_best(loss_like)
        if improved:
            # Before `last`: a run that is killed between the two repeats this epoch.
            self._write("best", with_state=False)
        before_last()
        self._write("last", with_state=True)
        if self._cadence.due(self.step):
            self._keep()
            self._cadence.start(self.step)
        self._log(metrics, self.epoch)
        return improved

    def _note_best(self, loss_like: float) -> bool:
        name = self.config.early_stopping_metric
        sign = 1.0 if name == "val/loss" else -1.0
        improved = not self.result.best or loss_like < sign * self.result.best[name]
        if improved:
            self.result.best = self.result.history[-1]
        self._epochs_without_gain = 0 if improved else self._epochs_without_gain + 1
        return improved

    def _train_epoch(self, progress: Progress, interruption: Interruption) -> tuple[float, float]:
        self.model.train()
        started = time.perf_counter() - self._part.seconds
        self.result.first_step_at = self.result.first_step_at or time.time()
        loss_sum = torch.tensor(self._part.loss_sum, device=self.device)
        batches = self.task.batches(self.epoch)[self._part.batches :]
        with closing(cast(Any, self.task.load([batch for batch in batches if len(batch)]))) as loaded:
            for start in range(0, len(batches), self.config.accumulation_steps):
                group = [len(batch) for batch in batches[start : start + self.config.accumulation_steps]]
                n_items = sum(group)
                self.schedule.before_step(self.step)
                if n_items:
                    loss_sum += self._optimiser_step(islice(loaded, sum(map(bool, group))), n_items)
                self.step += 1
                self._part.batches += len(group)
                self._part.items += n_items
                progress.advance(n_items * self.task.units_per_item)
                if interruption.pending or self._cadence.due(self.step):
                    self._part.loss_sum, self._part.seconds = loss_sum.item(), time.perf_counter() - started
                    self._stop_over(interruption)
        mean_loss = loss_sum.item() / self.task.size
        seconds = time.perf_counter() - started
        self.result.training_seconds += seconds
        self.result.units_seen += self.task.size * self.task.units_per_item
        if not math.isfinite(mean_loss):
            raise UserError(
                "training diverged: the loss is not a finite number",
                where=f"epoch {self.epoch + 1}",
                got=f"train/loss={mean_loss} with learning_rate={self.config.learning_rate}",
                remedy="lower learning_rate, raise warmup_fraction, or set gradient_clip",
            )
        return mean_loss, seconds

    def _stop_over(self, interruption: Interruption) -> None:
        """Writes `last` between two steps, then continues or stops if interrupted."""
        if not math.isfinite(self._part.loss_sum):
            interruption.raise_if_requested()
            return  # diverged weights must not replace the last good ones
        self._write("last", with_state=True)
        interruption.raise_if_requested()
        self._keep()
        self._cadence.start(self.step)

    def _optimiser_step(self, batches: Iterator[Any], n_items: int) -> Tensor:
        """Runs one optimiser step on batches; returns their summed loss.

        `n_items` is the number of items in all of the batches.
        """
        loss_sum = torch.zeros((), device=self.device)
        for batch in batches:
            with autocast(self.device, self.config.amp):
                loss = self.task.loss(self.model, batch)
            self.scaler.scale(loss / n_items).backward()
            loss_sum += loss.detach()
        if self.config.gradient_clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss_sum

    def validate(self) -> dict[str, float]:
        """The task's validation metrics of the present weights."""
        self.model.eval()
        try:
            return self.task.validate(self.model)
        except UserError as error:
            raise error.at(f"epoch {self.epoch}") from None

    def _write(self, name: str, *, with_state: bool) -> None:
        history = self.result.history
        write_checkpoint(
            self._checkpoints / name,
            weights=self.model.state_dict(),
            description={
                **self._description,
                "counters": {"epoch": self.epoch, "step": self.step},
                "metrics": without_epoch(history[-1]) if history else {},
            },
            training_state=self.state_dict() if with_state else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """The training state of a continued run, without weights.

        It holds tensors, numbers and text only.
        """
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "part": dataclasses.asdict(self._part),
            "epochs_without_gain": self._epochs_without_gain,
            "history": self.result.history,
            "best": self.result.best,
            "training_seconds": self.result.training_seconds,
            "units_seen": self.result.units_seen,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    def continue_from(self, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Restores weights and a `state_dict`, bit for bit.

        Config and data must be the same.

        Raises:
            CheckpointError: the state does not fit this run.
        """
        try:
            self.model.load_state_dict(dict(weights))
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.scaler.load_state_dict(state["scaler"])
            self.epoch, self.step = state["epoch"], state["step"]
            self._part = EpochPart(**state["part"])
            self._epochs_without_gain = state["epochs_without_gain"]
            self.result.history, self.result.best = list(state["history"]), dict(state["best"])
            self.result.training_seconds = state["training_seconds"]
            self.result.units_seen = state["units_seen"]
            torch.set_rng_state(state["rng"])
            if self.device.type == "cuda" and state["cuda_rng"]:
                torch.cuda.set_rng_state_all(state["cuda_rng"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                "the training state does not fit this run", where=self._checkpoints, got=error
            ) from None


def without_epoch(entry: Mapping[str, float]) -> dict[str, float]:
    """The metrics of an entry of the history."""
    return {name: value for name, value in entry.items() if name != "epoch"}
