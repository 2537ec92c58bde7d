"""The trainer: steps, epochs, validation, checkpoints and early stopping.

Everything else that happens during training is a callback.
"""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ppi_train.checkpoints import write_checkpoint
from ppi_train.config.options import SchedulerOptions, TrainingOptions
from ppi_train.errors import CheckpointError, RankError, UserError
from ppi_train.models.device import autocast, keep_freed_memory, seed_draws
from ppi_train.models.dropout import draws_of_torch
from ppi_train.models.trained_state import TrainedState, held_back
from ppi_train.training.callbacks import Callback
from ppi_train.training.optim import Schedule, build_optimizer
from ppi_train.training.ranks import Ranks, SingleProcess, halves
from ppi_train.training.task import Task


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
        options: Hyper-parameters.
        scheduler: Course of the learning rate.
        amp: Mixed precision: `off`, `bf16` or `fp16`.
        task: What it learns from.
        checkpoints: Folder for `best` and `last`.
        description: The checkpoints' description of model and data, as plain JSON.
        callbacks: What else is done during training; see `Callback`.
        warm_start: For weights from another training: they are validated as epoch 0, and may be the
            best; then this function prepares them for the first step.
        ranks: The processes that share the work; all must have the same model, options and task.
    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainingOptions,
        *,
        scheduler: SchedulerOptions,
        amp: str,
        task: Task,
        checkpoints: Path,
        description: Mapping[str, object],
        callbacks: Sequence[Callback] = (),
        warm_start: Callable[[], None] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks = ranks or SingleProcess()
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._states = [part for part in model.modules() if isinstance(part, TrainedState)]
        self._seen: list[list[list[Tensor]]] = []  # in an optimiser step, by batch and part of the model
        self.model, self.options, self.task = model, options, task
        self._checkpoints, self._description = checkpoints, description
        self._callbacks, self._warm_start = callbacks, warm_start
        self.device = task.device
        self.optimizer = build_optimizer(model, options)
        steps_per_epoch = -(-task.n_batches // (options.accumulation_steps or 1))
        self.schedule = Schedule(
            self.optimizer,
            scheduler,
            peak=options.learning_rate,
            total_steps=steps_per_epoch * options.epochs,
        )
        self._amp = amp
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == "fp16")
        self.epoch = self.step = self._epochs_without_gain = 0
        self._part = EpochPart()
        self._checkpoint_requested = self._stop_requested = self._stopped_by_another = False
        # Off only in a run that an older version began, which goes on with the generator's state.
        self._seeds_batches = True
        self.result = TrainResult()

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or training stops early."""
        patience = self.options.early_stopping_patience
        return self.epoch >= self.options.epochs or (0 < patience <= self._epochs_without_gain)

    @property
    def stopped_early(self) -> bool:
        """Whether training ended before its last epoch, since validation did not improve."""
        return self.finished and self.epoch < self.options.epochs

    @property
    def units_done(self) -> int:
        """Units trained on since the first epoch, in the task's units."""
        return self.task.units_per_item * (self.epoch * self.task.size + self._part.items)

    @property
    def units_total(self) -> int:
        """Units of all epochs."""
        return self.task.units_per_item * self.options.epochs * self.task.size

    @property
    def rate_metric(self) -> str:
        """The name of the metric of an epoch's throughput."""
        return f"system/{self.task.unit}s_per_second"

    def stop(self) -> None:
        """Ends training after the current step or epoch, with its state in `last`.

        Before the first validation there is no `best` yet.
        """
        self._stop_requested = True

    def request_checkpoint(self) -> None:
        """Has `last` written after the current step."""
        self._checkpoint_requested = True

    def run(self) -> TrainResult:
        """Trains from the present state to the last epoch or an early stop.

        Raises:
            UserError: the loss is no longer a finite number.
            BaseException: what a callback raises.
        """
        self._stop_requested = False
        keep_freed_memory()
        self._share_state()
        with ExitStack() as ending:
            for callback in self._callbacks:
                callback.on_start(self)
                ending.push(self._end_of(callback))
            if self._warm_start and not self.result.history:
                self._close_epoch(self.validate(), before_last=self._warm_start)
            while not (self.finished or self._stop_requested):
                self._run_epoch()
            if self._stopped_by_another:
                raise KeyboardInterrupt
        return self.result

    def _share_state(self) -> None:
        """Gives the first rank's weights and state to the others."""
        if self._ranks.size == 1:
            return
        if not self._seeds_batches:
            raise CheckpointError(
                "an older version began the run, and its generator's state is that of one process",
                remedy="continue it with processes=1",
            )
        packed = self._ranks.from_first(lambda: _packed((self.model.state_dict(), self.state_dict())))
        if not self._ranks.is_first:
            self.continue_from(*torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True))

    def _end_of(self, callback: Callback) -> Callable[..., None]:
        def end(kind: object, error: BaseException | None, trace: object) -> None:
            del kind, trace
            callback.on_end(self, error)

        return end

    def _run_epoch(self) -> None:
        trained = self._train_epoch()
        if trained is None:
            return
        train_loss, seconds = trained
        try:
            measured = {**self.validate(), **self._ranks.loads()}
        except RankError:
            self._save_within_epoch()  # a continued run has only the validation left to do
            raise
        units = self.task.size * self.task.units_per_item
        self.result.training_seconds += seconds
        self.result.units_seen += units
        self.epoch += 1
        self._part = EpochPart()
        self._close_epoch(
            {
                "train/loss": train_loss,
                "train/learning_rate": self.optimizer.param_groups[0]["lr"],
                self.rate_metric: units / seconds,
                **measured,
            }
        )

    def _close_epoch(
        self, metrics: Mapping[str, float], *, before_last: Callable[[], None] = lambda: None
    ) -> None:
        """Records an epoch's metrics, updates the schedule, and writes checkpoints."""
        self.result.history.append({"epoch": float(self.epoch), **metrics})
        # The schedule and the comparison both expect "lower is better".
        sign = 1.0 if self.options.early_stopping_metric == "val/loss" else -1.0
        loss_like = sign * metrics[self.options.early_stopping_metric]
        if self.epoch:
            self.schedule.after_epoch(loss_like)
        if self._update_best(loss_like, sign):
            # Before `last`: a run that is killed between the two repeats this epoch.
            self._write("best", with_state=False)
        before_last()
        self._write("last", with_state=True)
        for callback in self._callbacks:
            callback.on_epoch_end(self, metrics)

    def _update_best(self, loss_like: float, sign: float) -> bool:
        """Records the epoch as the best one if it is; returns whether it is."""
        best = self.result.best
        improved = not best or loss_like < sign * best[self.options.early_stopping_metric]
        if improved:
            self.result.best = self.result.history[-1]
        self._epochs_without_gain = 0 if improved else self._epochs_without_gain + 1
        return improved

    def _train_epoch(self) -> tuple[float, float] | None:
        """Trains to the end of the epoch; returns the mean loss and the seconds.

        None if training was stopped between two steps.
        """
        self.model.train()
        started = time.perf_counter() - self._part.seconds
        self.result.first_step_at = self.result.first_step_at or time.time()
        loss_sum = torch.tensor(self._part.loss_sum, device=self.device)
        batches = self.task.batches(self.epoch)
        sizes = [len(batch) for batch in batches]
        groups = self._groups(len(batches))
        own = [number for group in groups for number in self._own(group) if sizes[number]]
        with closing(cast(Any, self.task.load([batches[number] for number in own]))) as loaded:
            for group in groups:
                lost = self._train_group(loaded, group, sizes, loss_sum)
                if lost or self._checkpoint_requested or self._stop_requested:
                    self._part.loss_sum, self._part.seconds = loss_sum.item(), time.perf_counter() - started
                    self._save_within_epoch()
                if lost:
                    raise lost
                if self._stop_requested:
                    return None
        self._part.loss_sum, self._part.seconds = loss_sum.item(), time.perf_counter() - started
        return self._finite_mean(self._part.loss_sum), self._part.seconds

    def _train_group(
        self, loaded: Iterator[Any], group: range, sizes: Sequence[int], loss_sum: Tensor
    ) -> RankError | None:
        """Takes an optimiser step, and exchanges requests; returns that a rank was lost.

        The state is then that after the last whole step.
        """
        n_items = sum(sizes[number] for number in group)
        self.schedule.before_step(self.step)
        try:
            if n_items:
                loss_sum += self._optimiser_step(loaded, group, sizes)
            self.step += 1
            self._part.batches += len(group)
            self._part.items += n_items
            for callback in self._callbacks:
                callback.on_step_end(self)
            self._exchange_requests()
        except RankError as error:
            return error
        return None

    def _exchange_requests(self) -> None:
        """Makes all ranks save and stop after the same step."""
        own = self._stop_requested
        self._stop_requested, self._checkpoint_requested = self._ranks.any(own, self._checkpoint_requested)
        self._stopped_by_another = self._stop_requested and not own

    def _groups(self, n_batches: int) -> list[range]:
        """The numbers of the batches of each optimiser step that the epoch still has."""
        many = self.options.accumulation_steps or 1
        starts = range(self._part.batches, n_batches, many)
        return [range(start, min(start + many, n_batches)) for start in starts]

    def _own(self, group: range) -> range:
        """The numbers of a step's batches that this rank takes."""
        block = self._ranks.block(len(group))
        return range(group.start + block.start, group.start + block.stop)

    def _save_within_epoch(self) -> None:
        self._checkpoint_requested = False
        if math.isfinite(self._part.loss_sum):  # diverged weights must not replace the last good ones
            self._write("last", with_state=True)

    def _finite_mean(self, loss_sum: float) -> float:
        mean_loss = loss_sum / self.task.size
        if not math.isfinite(mean_loss):
            raise UserError(
                "training diverged: the loss is not a finite number",
                where=f"epoch {self.epoch + 1}",
                got=f"train/loss={mean_loss} with learning_rate={self.options.learning_rate}",
                remedy="lower learning_rate, raise warmup_fraction, or set gradient_clip",
            )
        return mean_loss

    def _optimiser_step(self, loaded: Iterator[Any], group: range, sizes: Sequence[int]) -> Tensor:
        """Runs one optimiser step on a group of batches; returns their summed loss.

        `loaded` yields those that this rank takes, except empty ones.
        """
        n_items = sum(sizes[number] for number in group)
        own = self._own(group)
        self._seen = []
        nothing: list[Tensor | None] = [None] * (1 + len(self._weights))
        sums = self._gradients(loaded, own, sizes, n_items) if own else nothing
        zero = torch.zeros((), device=self.device)
        loss, *gradients = self._ranks.total(sums, [zero, *self._weights])
        seen = self._seen_by_all() if self._states else []
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        if self.options.gradient_clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._follow(seen)
        return zero if loss is None else loss

    def _gradients(
        self, loaded: Iterator[Any], numbers: range, sizes: Sequence[int], n_items: int
    ) -> list[Tensor | None]:
        """The loss and the gradients of some batches, added in the order of the tree."""
        if len(numbers) > 1:
            first, second = (self._gradients(loaded, half, sizes, n_items) for half in halves(numbers))
            return [_added(one_half, other) for one_half, other in zip(first, second, strict=True)]
        loss = None
        if sizes[numbers.start]:
            self._seed_batch(numbers.start)
            # Around the backward pass too, which computes some layers again.
            with draws_of_torch(not self._seeds_batches):
                with autocast(self.device, self._amp), held_back(self._states) as seen:
                    loss = self.task.loss(self.model, next(loaded))
                self._seen.append(seen)
                self.scaler.scale(loss / n_items).backward()
        gradients = [weight.grad for weight in self._weights]
        self.optimizer.zero_grad(set_to_none=True)
        return [None if loss is None else loss.detach(), *gradients]

    def _seen_by_all(self) -> list[list[list[Tensor]]]:
        """What the parts of the model saw in the batches of all ranks, in their order."""
        if self._ranks.size == 1:
            return self._seen
        return self._ranks.joined([[[seen.cpu() for seen in part] for part in batch] for batch in self._seen])

    def _follow(self, seen: list[list[list[Tensor]]]) -> None:
        """Has the model's running state follow the step's batches and weights."""
        for batch in seen:
            for part, tensors in zip(self._states, batch, strict=True):
                for tensor in tensors:
                    part.learn(tensor)
        for part in self._states:
            part.after_step()

    def _seed_batch(self, number: int) -> None:
        """Makes what a batch draws depend on the seed, the epoch and its number alone."""
        if self._seeds_batches:
            drawn = np.random.SeedSequence((self.task.seed, self.epoch, number)).generate_state(1)
            seed_draws(int(drawn[0]), self.device)

    def validate(self) -> dict[str, float]:
        """The task's validation metrics of the present weights."""
        self.model.eval()
        try:
            return self.task.validate(self.model, self._ranks)
        except RankError:
            raise  # it names the process that was lost
        except UserError as error:
            # The epoch whose batches are done is counted after its validation.
            raise error.at(f"epoch {self.epoch + bool(self._part.batches)}") from None

    def _write(self, name: str, *, with_state: bool) -> None:
        if not self._ranks.is_first:
            return
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
        for callback in self._callbacks:
            callback.on_checkpoint(self, name)

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
            **({} if self._seeds_batches else self._generator_state()),
        }

    def _generator_state(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        return {"rng": torch.get_rng_state(), "cuda_rng": cuda}

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
            self._seeds_batches = "rng" not in state
            if not self._seeds_batches:
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


def _packed(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
