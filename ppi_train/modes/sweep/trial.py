"""A trial: a training in a run of its own, reported to the study epoch by epoch."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial

from ppi_train.checkpoints import checkpoint_digest, checkpoint_step
from ppi_train.config.loading import logged_parameters
from ppi_train.config.options import MONITORED
from ppi_train.errors import UserError
from ppi_train.io.files import write_file
from ppi_train.models.device import describe_device, resolve_device
from ppi_train.modes.faults import reported_faults
from ppi_train.modes.sweep.study import PARAMETERS, RESULT, RUN_ID, StudyPlace, TrialResult, pruner_of
from ppi_train.modes.train.train_only import MODE, completed_config, make_trainer, read_inputs
from ppi_train.runs.configs import TrainConfig
from ppi_train.runs.inputs import SplitInputs
from ppi_train.runs.lineage import code_version
from ppi_train.tracking.artifacts import LocalCheckpoints
from ppi_train.tracking.connection import server_address
from ppi_train.tracking.run import TrackedRun, Tracking, mark_lost
from ppi_train.tracking.run_folder import run_folder
from ppi_train.tracking.runs import find_run, is_there
from ppi_train.training.callbacks import Callback, MetricLogger
from ppi_train.training.pair_task import PairTask
from ppi_train.training.ranks import SingleProcess
from ppi_train.training.signals import Interruption
from ppi_train.training.trainer import Trainer

# Of the name of a run in MLflow's databases.
_LONGEST_NAME = 250


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """What all trials of a sweep have in common.

    Attributes:
        parent: The run of the sweep.
        server: The tracking server, or the store.
        here: The working folder of the sweep's process, for relative paths.
        place: Where the study is.
        config: The training, without what a trial searches.
        objectives: What is searched for.
        pruner: The name of the pruner; `none` for none.
        scores: The folder of validation scores.
    """

    parent: str
    server: str
    here: Path
    place: StudyPlace
    config: TrainConfig
    objectives: tuple[str, ...]
    pruner: str
    scores: Path

    def scores_of(self, run_id: str) -> Path:
        """The validation logits of a trial, (n_pairs,) float32.

        By its run: studies of one name in two storages have trials of the same number.
        """
        return self.scores / f"{run_id}.float32"

    def inputs(self, config: TrainConfig) -> SplitInputs:
        """The inputs of a trial's config."""
        return shared_inputs(config, self.parent)


class PrunedByStudy(Callback):
    """Reports each epoch to the study, and stops trainings that it calls hopeless."""

    def __init__(self, job: SweepJob, number: int, epochs: int) -> None:
        self._storage, self._trial_id = job.place.storage(), job.place.trial_id(number)
        self._objective = job.objectives[0]
        self._pruner = None if job.pruner == "none" else pruner_of(job.pruner, epochs)
        self._study = optuna.load_study(study_name=job.place.name, storage=self._storage)
        self.pruned_at = 0

    def on_epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        if self._pruner is None:
            return
        self._storage.set_trial_intermediate_value(self._trial_id, trainer.epoch, metrics[self._objective])
        if not trainer.finished and self._pruner.prune(self._study, self._storage.get_trial(self._trial_id)):
            self.pruned_at = trainer.epoch
            trainer.stop()


class BestScores(Callback):
    """Keeps the validation logits of the best epoch, which the page compares trials by."""

    def __init__(self) -> None:
        self._logits = torch.empty(0)

    def on_epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        del metrics
        if trainer.result.best is trainer.result.history[-1]:
            self._logits = cast(PairTask, trainer.task).validation_logits

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, self._logits.cpu().numpy().astype(np.float32).tobytes())


def run_trial(job: SweepJob, number: int) -> TrialResult:
    """Trains with the parameters that the study has drawn for a trial.

    Raises:
        Exception: an error that no user can mend; the sweep ends with it.
    """
    os.chdir(job.here)  # from wherever a worker was started
    if server_address() != job.server:
        os.environ["MLFLOW_TRACKING_URI"] = job.server
    trial = job.place.storage().get_trial(job.place.trial_id(number))
    earlier = trial.user_attrs.get(RUN_ID)
    if earlier:  # a worker was lost with it
        if result := result_before_loss(trial):
            return result
        mark_lost(earlier, "the worker of this trial was lost")
        return TrialResult(state="lost", run_id=earlier)
    parameters = trial.user_attrs[PARAMETERS]
    tracking = Tracking(
        folder=Path(job.config.output.output_dir),
        flush_seconds=job.config.tracking.tracking_flush_seconds,
        run_name=", ".join(f"{name}={short(value)}" for name, value in parameters.items())[:_LONGEST_NAME],
        parent=job.parent,
    )
    started, run_id = time.perf_counter(), ""
    try:
        with (
            _quiet(),
            reported_faults(job.config.values),
            TrackedRun(MODE, system_metrics=False, tracking=tracking) as run,
        ):
            run_id = run.run_id
            job.place.storage().set_trial_user_attr(job.place.trial_id(number), RUN_ID, run_id)
            result = _train(job, number, parameters, run, started)
            job.place.storage().set_trial_user_attr(job.place.trial_id(number), RESULT, asdict(result))
            return result
    except UserError as error:
        seconds = time.perf_counter() - started
        return TrialResult(state="failed", run_id=run_id, reason=error.what, seconds=seconds)


def result_before_loss(trial: FrozenTrial) -> TrialResult | None:
    """The result of a trial whose run had ended when its process was lost; None if it had not.

    Raises:
        TrackingError: the server does not answer.
    """
    result, run_id = trial.user_attrs.get(RESULT), str(trial.user_attrs.get(RUN_ID))
    if result is None or not is_there(run_id) or find_run(run_id).status != "FINISHED":
        return None
    return TrialResult(**{**result, "values": tuple(result["values"])})


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves lines to the sweep, which has one for each trial; warnings stay."""
    own = logging.getLogger("ppi_train")
    before = own.level
    own.setLevel(logging.WARNING)
    try:
        yield
    finally:
        own.setLevel(before)


def short(value: object) -> str:
    """A value as names of runs and lines of the log show it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _train(
    job: SweepJob, number: int, parameters: Mapping[str, object], run: TrackedRun, started: float
) -> TrialResult:
    config = job.config.replace(**parameters)
    inputs = job.inputs(config)
    config = completed_config(config, inputs)
    device = resolve_device(config.compute.device)
    run.identify(
        model=config.model.model,
        trial=str(number),
        study=job.place.name,
        device=describe_device(device),
        code_version=code_version(),
        **inputs.tags,
    )
    run.log_parameters(logged_parameters(config))
    run.log_datasets([inputs.dataset(split) for split in inputs.tables])
    pruning, scores = PrunedByStudy(job, number, config.training.epochs), BestScores()
    with run_folder(config.output.output_dir, run.run_id) as output:
        folder = output / "checkpoints"
        trainer, _ = make_trainer(
            config,
            inputs,
            SingleProcess(),
            device,
            callbacks=[pruning, scores, MetricLogger(run.log_metrics), Interruption()],
            fits_statistics=True,
            checkpoints=folder,
        )
        trainer.run()
        _keep_best(run, folder)
        result = trainer.result
        values = _values(job.objectives, trainer)
        run.log_metrics(
            {f"{name}_best": result.best[name] for name in MONITORED}
            | {
                "best_epoch": result.best["epoch"],
                "system/training_seconds": result.training_seconds,
                "system/training_pairs_per_second": result.units_per_second,
            }
        )
        seconds = time.perf_counter() - started
        if pruning.pruned_at:
            run.set_tags({"ppi.pruned": str(pruning.pruned_at)})
            return TrialResult(state="pruned", run_id=run.run_id, seconds=seconds)
        scores.write(job.scores_of(run.run_id))
        return TrialResult(state="complete", run_id=run.run_id, values=values, seconds=seconds)


@lru_cache(maxsize=2)
def _inputs(config: TrainConfig, _sweep: str) -> SplitInputs:
    return read_inputs(config)


def shared_inputs(config: TrainConfig, sweep: str) -> SplitInputs:
    """The inputs of a config, read once for all trials in a process and sweep.

    Args:
        config: That of a trial.
        sweep: The run of the sweep: before a later one, the files may have changed.
    """
    of_inputs = TrainConfig(
        data=config.data, pairs=config.pairs, cache=config.cache, embedder=config.embedder
    )
    return _inputs(of_inputs.replace(device=config.compute.device), sweep)


def _values(objectives: tuple[str, ...], trainer: Trainer) -> tuple[float, ...]:
    measured = {
        **trainer.result.best,
        "seconds": trainer.result.training_seconds,
        "weights": float(sum(weight.numel() for weight in trainer.model.parameters())),
    }
    return tuple(float(measured[name]) for name in objectives)


def _keep_best(run: TrackedRun, folder: Path) -> None:
    """Uploads the best checkpoint; nothing of the training state stays, which only `resume` needs."""
    best = folder / "best"
    shutil.rmtree(folder / "last", ignore_errors=True)
    kept = LocalCheckpoints(
        folders={"best": best}, digests={"best": checkpoint_digest(best)}, step=checkpoint_step(best)
    )
    run.keep_checkpoints(kept, final=True)
