"""Digest of all files of a logged model, to detect altered models.

Serving a model runs the code in it. A run's checkpoint is verified whenever it is read; the model is a copy
of it with code, in a separate folder, which is not read before the model is served. So a promotion checks
that the model is what the training run has logged.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import mlflow

from ppi_train.errors import CheckpointError
from ppi_train.tracking.connection import translated_errors

TAG = "ppi.model_digest"
"""Tag of a logged model, and of the versions made from it."""

_BY_MLFLOW = "registered_model_meta"  # added by the download of a registered version


def digest_of_folder(folder: Path) -> str:
    """SHA-256 of the paths and digests of all files in a folder."""
    hasher = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != _BY_MLFLOW:
            with path.open("rb") as stream:
                hasher.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return hasher.hexdigest()


def digest_of_logged_model(model_id: str) -> str:
    """Downloads the files of a logged model and returns their digest.

    The model is not loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        return digest_of_folder(
            Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=folder))
        )


def verified_model(model_id: str) -> str | None:
    """Verifies a logged model and returns its digest.

    None if the model was logged before models had a digest.

    Raises:
        CheckpointError: its files are not those that were logged.
        TrackingError: no such model, or the server does not answer.
    """
    with translated_errors("verify the run's model", of_artifacts=True):
        logged = mlflow.MlflowClient().get_logged_model(model_id).tags.get(TAG)
        found = digest_of_logged_model(model_id) if logged else None
    if found != logged:
        raise CheckpointError(
            "the run's model was altered after it was logged, and serving it would run its code",
            where=f"models:/{model_id}",
            got=f"digest {found}",
            expected=f"digest {logged}, which the tag {TAG} of the model has",
            remedy="find out who altered it; train again for a model to trust",
        )
    return found
