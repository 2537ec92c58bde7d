"""Resolution of a run ID or registered model to its verified checkpoint.

The checkpoint is downloaded once and kept on this machine; it is verified whenever it is read.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ppi_train.checkpoints import (
    CHECKPOINT_FILES,
    Checkpoint,
    checkpoint_digest,
    read_checkpoint,
    verify_checkpoint,
)
from ppi_train.errors import CheckpointError, StorageError
from ppi_train.io.files import FULL_DISK, user_cache
from ppi_train.runs.options import EvaluatedRunOptions
from ppi_train.tracking.registry.versions import resolve_model_uri
from ppi_train.tracking.runs import RunInfo, download_checkpoint, find_run

logger = logging.getLogger(__name__)

PAIR_MODES = ("train_only", "finetune_from_pretrain")
EMBEDDER_MODES = ("train_embedder",)


@dataclass(frozen=True, kw_only=True)
class ResolvedCheckpoint:
    """A verified checkpoint of a run.

    Its folder is shared: nothing may write to it.
    """

    run: RunInfo
    folder: Path
    digest: str

    def read(self, *, with_training_state: bool = False) -> Checkpoint:
        return read_checkpoint(self.folder, with_training_state=with_training_state)


def resolve_checkpoint(
    run_id: str, name: str = "best", *, modes: Sequence[str] = PAIR_MODES
) -> ResolvedCheckpoint:
    """Finds a training run and downloads its checkpoint, unless already cached.

    Raises:
        TrackingError: the run does not exist or is deleted, or the server does not answer.
        CheckpointError: the run is no training run of these modes, is still running, or has no finished
            checkpoint, or the checkpoint was altered.
    """
    run = find_training_run(run_id, modes=modes)
    if run.running:
        raise CheckpointError(
            "the run is still running, so its checkpoints still change",
            where=run,
            remedy="wait until it ends; if its process is gone, continue it: "
            f"mlflow run . --env-manager local -e resume -P run_id={run_id}",
        )
    return fetch_checkpoint(run, name)


def find_training_run(run_id: str, *, modes: Sequence[str] = (*PAIR_MODES, *EMBEDDER_MODES)) -> RunInfo:
    """Finds a run of one of the training modes.

    Raises:
        TrackingError: see `find_run`.
        CheckpointError: the run has another mode, or was not made by this project.
    """
    run = find_run(run_id)
    if run.mode in modes:
        return run
    if run.mode in (*PAIR_MODES, *EMBEDDER_MODES):
        raise CheckpointError(
            "the run has trained another kind of model",
            where=run,
            got=f"mode {run.mode}",
            expected=" or ".join(modes),
            remedy=_kind_remedy(run),
        )
    evaluated = run.tags.get("ppi.evaluated_run_id")
    stages = {tag: value for tag, value in sorted(run.tags.items()) if tag.startswith("ppi.stage.")}
    remedy = "give the ID of a training run"
    if tool := run.tags.get("ppi.score_name"):
        remedy = f"it measured the scores that {tool} gave, so that there is no model to load: {remedy}"
    elif evaluated:
        remedy = f"it scored run {evaluated}: give that ID"
    elif stages:
        named = ", ".join(f"{tag.removeprefix('ppi.stage.')} {run_id}" for tag, run_id in stages.items())
        remedy = f"give the ID of one of its stages: {named}"
    raise CheckpointError(
        "this is not a training run, so it has no checkpoint",
        where=run,
        got=f"mode {run.mode}" if run.mode else "a run that this project did not make",
        expected=" or ".join(modes),
        remedy=remedy,
    )


def _kind_remedy(run: RunInfo) -> str:
    if run.mode in EMBEDDER_MODES:
        return f"to embed with it: embedder=protein_lm, embedder_run_id={run.run_id}"
    return f"give the embedder's run, {run.tags.get('ppi.embedder_run_id') or 'a run of train_embedder'}"


def fetch_checkpoint(run: RunInfo, name: str) -> ResolvedCheckpoint:
    """Downloads a checkpoint of a run, unless it is already cached.

    `resolve_checkpoint` does the same, and checks the run first.

    Raises:
        CheckpointError: the run has no finished checkpoint, or the checkpoint was altered.
    """
    stored = run.checkpoints
    if stored is None or name not in stored.digests:
        raise CheckpointError(
            "the run has no finished checkpoint",
            where=run,
            expected=f"checkpoints/{name} among its artifacts, and the tag that is set when it is whole",
            remedy=f"continue it: mlflow run . --env-manager local -e resume -P run_id={run.run_id}; "
            "or give another run's ID",
        )
    digest = stored.digests[name]
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise CheckpointError("the checkpoint is not one of ours", where=run, got=f"digest {digest!r}")
    folder = checkpoint_cache() / digest
    if os.access(folder.parent, os.W_OK) or not _is_whole(folder, digest):
        with _usable_cache(folder.parent), _locked(folder):
            if not _is_whole(folder, digest):
                _download(run, name, folder, digest)
    logger.info("checkpoint %s of run %s: %s", name, run.run_id, folder)
    return ResolvedCheckpoint(run=run, folder=folder, digest=digest)


@contextmanager
def _usable_cache(folder: Path) -> Iterator[None]:
    """Says which variable moves the folder of downloaded checkpoints, if that cannot be used."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK or error.errno is None:
            raise
        raise StorageError(
            "the folder of downloaded checkpoints cannot be used",
            where=folder,
            got=error.strerror,
            remedy="set PPI_TRAIN_CACHE to a folder that can be written to",
        ) from error


def checkpoint_cache() -> Path:
    """The folder of downloaded checkpoints, which are stored by digest."""
    return user_cache() / "checkpoints"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks a checkpoint folder for this process.

    Otherwise another process could replace the checkpoint that this process has verified and is reading.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_whole(folder: Path, digest: str) -> bool:
    if not folder.exists():
        return False
    try:
        verify_checkpoint(folder)
    except CheckpointError as error:
        logger.warning("%s; it is downloaded again", error.what)
        return False
    return checkpoint_digest(folder) == digest


def _download(run: RunInfo, name: str, folder: Path, digest: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as partial:
        came = download_checkpoint(run, name, Path(partial), files=CHECKPOINT_FILES)
        try:
            verify_checkpoint(came)
        except CheckpointError as error:
            raise error.at(f"checkpoints/{name} of {run}") from None
        if checkpoint_digest(came) != digest:
            raise CheckpointError(
                "the checkpoint is not one of ours: it differs from the one that the run has logged",
                where=f"checkpoints/{name} of {run}",
                got=f"sha256 {checkpoint_digest(came)}",
                expected=f"sha256 {digest}",
                remedy="find out who replaced it; train again for a checkpoint to trust",
            )
        if folder.is_dir():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
        came.rename(folder)
    logger.info("checkpoint %s of run %s downloaded: %s", name, run.run_id, folder)


def resolve_candidate(evaluated: EvaluatedRunOptions) -> ResolvedCheckpoint:
    """The checkpoint that `run_id` or `model_uri` names."""
    return resolve_checkpoint(candidate_run_id(evaluated))


def candidate_run_id(evaluated: EvaluatedRunOptions) -> str:
    """The run that `run_id` or `model_uri` names."""
    if evaluated.model_uri:
        run_id, _ = resolve_model_uri(evaluated.model_uri)
        return run_id
    assert evaluated.run_id is not None  # the schema requires one of the two
    return evaluated.run_id
