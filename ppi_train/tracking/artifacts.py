"""Checkpoints in the artifacts of a run, complete at any moment.

A run's artifacts cannot be replaced atomically. So a checkpoint is uploaded to another folder than the valid
one, and a tag of the run, `ppi.checkpoints`, is set last: it names the valid folder, and the digest of each
checkpoint in it. A folder that the tag does not name is ignored. So a kill at any moment leaves a complete
checkpoint.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

TAG = "ppi.checkpoints"
FINAL = "checkpoints"
# During training, uploads alternate between these two.
_TURNS = ("checkpoints/resume-a", "checkpoints/resume-b")


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoints:
    """The valid artifact folder and the digests of its checkpoints.

    `digests` has the keys `best` and `last`. `step` is the optimiser step of `last`.
    """

    folder: str
    step: int
    digests: Mapping[str, str]

    def to_tag(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_tag(cls, text: str | None) -> StoredCheckpoints | None:
        """Reads the tag; None if it is missing or invalid."""
        try:
            fields = json.loads(text or "null")
            digests = {str(name): str(digest) for name, digest in fields["digests"].items()}
            folder, step = str(fields["folder"]), int(fields["step"])
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None
        return cls(folder=folder, step=step, digests=digests) if folder in (FINAL, *_TURNS) else None


@dataclass(frozen=True, kw_only=True)
class LocalCheckpoints:
    """Checkpoints on this machine: folders and digests by name.

    `step` is the optimiser step of `last`.
    """

    folders: Mapping[str, Path]
    digests: Mapping[str, str]
    step: int

    def stored_in(self, folder: str) -> StoredCheckpoints:
        return StoredCheckpoints(folder=folder, step=self.step, digests=dict(self.digests))


class CheckpointStore:
    """Uploads the checkpoints of one run.

    Args:
        run_id: The run.
        stored: What an earlier process of the run has uploaded.
    """

    def __init__(self, run_id: str, stored: StoredCheckpoints | None) -> None:
        self._run_id, self._stored = run_id, stored
        self._client = mlflow.MlflowClient()

    def keep(self, checkpoints: LocalCheckpoints) -> None:
        """Uploads the checkpoints of a run that is still training."""
        at = self._stored.folder if self._stored else None
        self._upload(_TURNS[1] if at == _TURNS[0] else _TURNS[0], checkpoints)

    def finish(self, checkpoints: LocalCheckpoints) -> None:
        """Uploads the final checkpoints and removes the intermediate ones."""
        if self._stored != checkpoints.stored_in(FINAL):
            if self._stored and self._stored.folder == FINAL:
                # The run was continued: the final folder is the valid one until another one is.
                self.keep(checkpoints)
            self._upload(FINAL, checkpoints)
        # Even if this process has uploaded none: an earlier one may have been killed before it removed them.
        self._remove_turns()

    def _upload(self, folder: str, checkpoints: LocalCheckpoints) -> None:
        for name, path in checkpoints.folders.items():
            self._client.log_artifacts(self._run_id, str(path), f"{folder}/{name}")
        stored = checkpoints.stored_in(folder)
        self._client.set_tag(self._run_id, TAG, stored.to_tag())
        self._stored = stored  # only now: an interrupted upload is repeated

    def _remove_turns(self) -> None:
        repository = get_artifact_repository(self._client.get_run(self._run_id).info.artifact_uri)
        for folder in _TURNS:
            # Each store has its own errors. If a store forbids deleting, the folders stay: no tag names them.
            with contextlib.suppress(Exception):
                repository.delete_artifacts(folder)
