"""A digest of all files of a logged model, so that what is promoted is what the training run has logged.

To serve a model runs the code that lies in it. A run's checkpoint is verified whenever it is read; the
model is a copy of it with code, in a folder of its own, which nobody reads before it is served.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import mlflow

from ppi_train.errors import CheckpointError
from ppi_train.tracking.connection import translated_errors

TAG = "ppi.model_digest"
"""Tag of a logged model, and of the versions made of it."""

_BY_MLFLOW = "registered_model_meta"  # which a download of a registered version adds


def digest_of_folder(folder: Path) -> str:
    """sha256 over the path and the sha256 of every file below a folder."""
    hasher = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != _BY_MLFLOW:
            with path.open("rb") as stream:
                hasher.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return hasher.hexdigest()


def digest_of_logged_model(model_id: str) -> str:
    """The digest of what the artifact store holds of a logged model, which is downloaded and not loaded."""
    with tempfile.TemporaryDirectory() as folder:
        return digest_of_folder(
            Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=folder))
        )


def verified_model(model_id: str) -> str | None:
    """The digest of a logged model; None if it was logged before models had one.

    Raises:
        CheckpointError: its files are not those that were logged.
        TrackingError: no such model, or the server does not answer.
    """
    with translated_errors("verify the run's model", of_artifacts=True):
        logged = mlflow.MlflowClient().get_logged_model(model_id).tags.get(TAG)
        found = digest_of_logged_model(model_id) if logged else None
    if found != logged:
        raise CheckpointError(
            "the run's model was altered after it was logged, and whoever serves it would run its code",
            where=f"models:/{model_id}",
            got=f"digest {found}",
            expected=f"digest {logged}, which the tag {TAG} of the model has",
            remedy="find out who altered it; train again for a model to trust",
        )
    return found
