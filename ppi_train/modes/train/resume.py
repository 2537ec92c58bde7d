"""The `resume` mode: continues an interrupted training run exactly."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ppi_train.checkpoints import Checkpoint, read_checkpoint, recover_checkpoint
from ppi_train.config.loading import logged_parameters
from ppi_train.config.places import with_copies
from ppi_train.errors import CheckpointError, ConfigError, DataError, TrackingError
from ppi_train.modes.base import PipelineResult, tracking_of
from ppi_train.modes.train.finetune import finetuning_job
from ppi_train.modes.train.train_only import training_job
from ppi_train.modes.train.training_run import TrainingJob
from ppi_train.modes.train_embedder import embedder_job
from ppi_train.runs.checkpoints import fetch_checkpoint, find_training_run
from ppi_train.runs.config import Resumable, original_config
from ppi_train.runs.configs import FinetuneConfig, ResumeConfig, TrainEmbedderConfig
from ppi_train.runs.options import ResumedRunOptions
from ppi_train.tracking.outbox.store import LEGACY_NAME, NAME
from ppi_train.tracking.outbox.sync import sync_outbox
from ppi_train.tracking.run import DEFAULT_FOLDER, TrackedRun
from ppi_train.tracking.run_folder import is_run_folder, run_folder, was_here
from ppi_train.tracking.runs import RunInfo, seconds_since_sign_of_life

logger = logging.getLogger(__name__)


# A live run logs its use of processor and memory every few seconds.
SILENCE = 60.0
_NAMES = ("best", "last")


def run(config: ResumeConfig, tracked: TrackedRun) -> PipelineResult:
    """Continues an interrupted training run in the same MLflow run.

    The run of this command, `tracked`, becomes a child of the run that it continues.

    Raises:
        TrackingError: there is no such run, or another process works on it.
        CheckpointError: it is not a training run, or it has finished.
        DataError: the data are not those that the run was trained on.
    """
    resumed = config.resumed
    assert resumed.run_id is not None  # the schema requires it
    found = find_training_run(resumed.run_id)
    left = folder_left(found)
    run = send_what_it_left(found, resumed.output_dir)
    tracked.set_tags({"mlflow.parentRunId": run.run_id, "ppi.resumed_run_id": run.run_id})
    tracked.identify(model=run.tags.get("ppi.model", ""), dataset=run.tags.get("ppi.dataset", ""))
    tracked.log_parameters(logged_parameters(config))
    original = with_copies(_with_places(original_config(run), resumed))
    ran_here = left is not None or was_here(original.output.output_dir, run.run_id)
    _refuse_unless_interrupted(run, ran_here=ran_here)
    return continue_training(run.run_id, job_of(original), left=left)


def job_of(original: Resumable) -> TrainingJob:
    """Reads the inputs of the training that a config specifies."""
    if isinstance(original, TrainEmbedderConfig):
        return embedder_job(original)
    return finetuning_job(original) if isinstance(original, FinetuneConfig) else training_job(original)


def continue_training(run_id: str, job: TrainingJob, *, left: Path | None = None) -> PipelineResult:
    """Continues an interrupted run of this job from its last checkpoint.

    Args:
        run_id: The run.
        job: How it was trained.
        left: Where its last process had its folder, if the run does not say that any more.

    Raises:
        UserError: as in `run`.
    """
    output_dir = job.config.output.output_dir
    found = find_training_run(run_id)
    left = left or folder_left(found)
    ran_here = left is not None or was_here(output_dir, run_id)
    send_what_it_left(found, output_dir)
    with ExitStack() as locks:
        output = locks.enter_context(run_folder(output_dir, run_id))
        if left and not left.samefile(output):
            locks.enter_context(run_folder(str(left.parent), left.name))
        run = find_training_run(run_id)  # as it is now that no other process here can change it
        _refuse_unless_interrupted(run, ran_here=ran_here)
        _check_same_data(run, job)
        tracking = replace(tracking_of(job.config), offline=False)
        with TrackedRun(str(run.mode), continues=run, tracking=tracking) as continued:
            checkpoint = _last_checkpoint(run, output, left)
            if checkpoint is None:
                logger.info("the run was interrupted before its first checkpoint: it starts again at step 0")
            result = job.train(continued, output, checkpoint)
            return replace(result, url=continued.url, places=continued.places)


def folder_left(run: RunInfo) -> Path | None:
    """The folder on this machine in which the run's last process worked; it may have another output_dir."""
    place = run.journal
    return place.path.parent if place and place.is_here and is_run_folder(place.path.parent) else None


def send_what_it_left(run: RunInfo, output_dir: str | None) -> RunInfo:
    """Sends unsent records of a run, and looks the run up again.

    The records are in the outbox of the last process that worked on the run.

    Raises:
        JournalError: it is a journal of version 0.2, which that version has to send.
        TrackingError: that process is still alive, or the server does not accept all records.
    """
    candidates = [Path(output_dir or DEFAULT_FOLDER) / run.run_id / name for name in (NAME, LEGACY_NAME)]
    if run.journal and run.journal.is_here:
        candidates.append(run.journal.path)
    outboxes = list(dict.fromkeys(path.resolve() for path in candidates if path.is_file()))
    for path in outboxes:
        sent = sync_outbox(path, experiment_id=run.experiment_id, end=False)
        logger.info("%d unsent records of the run are now on the tracking server", sent.records)
    return find_training_run(run.run_id) if outboxes else run


def _with_places(original: Resumable, resumed: ResumedRunOptions) -> Resumable:
    """The config with the paths that the user has changed."""
    places = {name: place for name, place in vars(resumed).items() if place is not None}
    del places["run_id"]
    strange = sorted(places.keys() - original.values.keys())
    if strange:
        raise ConfigError(
            f"a run of this mode has no parameter {', '.join(strange)}", where=f"run {resumed.run_id}"
        )
    return original.replace(**places)


def _refuse_unless_interrupted(run: RunInfo, *, ran_here: bool) -> None:
    if run.status == "FINISHED":
        raise CheckpointError(
            "the run has finished: there is nothing to continue",
            where=run,
            remedy="to train on from its weights: mlflow run . --env-manager local -e finetune_from_pretrain "
            f"-P pretrain_run_id={run.run_id}",
        )
    # On the machine where it ran, its lock shows whether it is alive; elsewhere only its silence does.
    if not run.running or ran_here:
        return
    silent = seconds_since_sign_of_life(run)
    if silent < SILENCE:
        raise TrackingError(
            "the run seems to be alive on another machine",
            where=run,
            got=f"it started or logged a metric {silent:.0f} s ago",
            expected=f"silence of {SILENCE:.0f} s, or the output_dir that it had on this machine",
            remedy="end it there, or wait",
        )


def _check_same_data(run: RunInfo, job: TrainingJob) -> None:
    """Refuses to continue on other pairs, other embeddings, or embeddings with other numbers."""
    wanted = {name.rpartition("/")[2]: digest for name, digest in run.datasets.items()}
    for name, tag in (("embeddings", "cache"), ("embedding_content", "content")):
        recorded = run.tags.get(f"ppi.embedding_{tag}_digest")
        if recorded:
            wanted[name] = recorded
    found = job.recorded
    changed = [name for name in wanted if found[name] != wanted[name]]
    if changed:
        raise DataError(
            f"the data are not those that the run was trained on: {', '.join(changed)}",
            where=run,
            got=", ".join(f"{name} {found[name][:12]}" for name in changed),
            expected=", ".join(f"{name} {wanted[name][:12]}" for name in changed),
            remedy="bring the files back as they were, or train a new run",
        )


def _last_checkpoint(run: RunInfo, output: Path, left: Path | None) -> Checkpoint | None:
    """The latest `last` checkpoint of the run: in its folder, in that which it had, or on the server.

    Checkpoints of another place replace those in its folder.
    """
    folder = output / "checkpoints"
    found: dict[Path, Checkpoint] = {}
    problem: CheckpointError | None = None
    for place in (folder, left / "checkpoints") if left else (folder,):
        try:
            checkpoint = _read_last(place)
        except CheckpointError as error:
            problem = error
            logger.warning("%s; another checkpoint is used if there is one", error)
        else:
            found |= {place: checkpoint} if checkpoint else {}
    latest = max(found, key=lambda place: found[place].step, default=None)
    stored = run.checkpoints if run.checkpoints and "last" in run.checkpoints.digests else None
    if stored and (latest is None or found[latest].step < stored.step):
        _replace(folder, {name: fetch_checkpoint(run, name).folder for name in stored.digests})
    elif latest is None:
        if problem:
            raise problem
        return None
    elif latest != folder:
        _replace(folder, {name: latest / name for name in _NAMES if (latest / name).is_dir()})
        logger.info("the checkpoints of the run are taken from %s", latest)
    else:
        return found[latest]
    return _read_last(folder)


def _replace(folder: Path, sources: Mapping[str, Path]) -> None:
    for name, source in sources.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(source, folder / name)


def _read_last(folder: Path) -> Checkpoint | None:
    for name in _NAMES:
        recover_checkpoint(folder / name)
    last = folder / "last"
    if not last.exists():
        return None
    checkpoint = read_checkpoint(last, with_training_state=True)
    if checkpoint.training_state is None:
        raise CheckpointError("the checkpoint has no training state", where=last)
    return checkpoint
