"""The `resume` mode: continues an interrupted training run exactly."""

from __future__ import annotations

import logging
import shutil
import socket
from dataclasses import replace
from pathlib import Path

from ppi_train.checkpoints import Checkpoint, read_checkpoint, recover_checkpoint
from ppi_train.config.loading import logged_parameters
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
from ppi_train.tracking.run_folder import run_folder, was_here
from ppi_train.tracking.runs import RunInfo, seconds_since_sign_of_life

logger = logging.getLogger(__name__)


# A live run logs its use of processor and memory every few seconds.
SILENCE = 60.0


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
    run = send_what_it_left(find_training_run(resumed.run_id), resumed.output_dir)
    tracked.set_tags({"mlflow.parentRunId": run.run_id, "ppi.resumed_run_id": run.run_id})
    tracked.identify(model=run.tags.get("ppi.model", ""), dataset=run.tags.get("ppi.dataset", ""))
    tracked.log_parameters(logged_parameters(config))
    original = _with_places(original_config(run), resumed)
    _refuse_unless_interrupted(run, ran_here=was_here(original.output.output_dir, run.run_id))
    return continue_training(run.run_id, _job(original))


def _job(original: Resumable) -> TrainingJob:
    if isinstance(original, TrainEmbedderConfig):
        return embedder_job(original)
    return finetuning_job(original) if isinstance(original, FinetuneConfig) else training_job(original)


def continue_training(run_id: str, job: TrainingJob) -> PipelineResult:
    """Continues an interrupted run of this job from its last checkpoint.

    Raises:
        UserError: as in `run`.
    """
    ran_here = was_here(job.config.output.output_dir, run_id)
    send_what_it_left(find_training_run(run_id), job.config.output.output_dir)
    with run_folder(job.config.output.output_dir, run_id) as output:
        run = find_training_run(run_id)  # as it is now that no other process here can change it
        _refuse_unless_interrupted(run, ran_here=ran_here)
        _check_same_data(run, job)
        tracking = replace(tracking_of(job.config), offline=False)
        with TrackedRun(str(run.mode), continues=run, tracking=tracking) as continued:
            checkpoint = _last_checkpoint(run, output / "checkpoints")
            if checkpoint is None:
                logger.info("the run was interrupted before its first checkpoint: it starts again at step 0")
            return job.train(continued, output, checkpoint)


def send_what_it_left(run: RunInfo, output_dir: str | None) -> RunInfo:
    """Sends unsent records of a run, and looks the run up again.

    The records are in the outbox of the last process that worked on the run.

    Raises:
        JournalError: it is a journal of version 0.2, which that version has to send.
        TrackingError: that process is still alive, or the server does not accept all records.
    """
    candidates = [Path(output_dir or DEFAULT_FOLDER) / run.run_id / name for name in (NAME, LEGACY_NAME)]
    if run.journal and run.journal.host in ("", socket.gethostname()):
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
            remedy="to train on from its weights: mlflow run . -e finetune_from_pretrain "
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


def _last_checkpoint(run: RunInfo, folder: Path) -> Checkpoint | None:
    """The latest `last` checkpoint, local or from the tracking server.

    A later checkpoint from the server replaces the local one.
    """
    for name in ("best", "last"):
        recover_checkpoint(folder / name)
    stored = run.checkpoints if run.checkpoints and "last" in run.checkpoints.digests else None
    try:
        local = _read(folder / "last")
    except CheckpointError as error:
        if stored is None:
            raise
        logger.warning("%s; using the checkpoint on the tracking server", error)
        local = None
    if stored is None or (local and local.step >= stored.step):
        return local
    for name in stored.digests:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(fetch_checkpoint(run, name).folder, folder / name)
    return _read(folder / "last")


def _read(folder: Path) -> Checkpoint | None:
    if not folder.exists():
        return None
    checkpoint = read_checkpoint(folder, with_training_state=True)
    if checkpoint.training_state is None:
        raise CheckpointError("the checkpoint has no training state", where=folder)
    return checkpoint
