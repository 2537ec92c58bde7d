"""Logs a checkpoint as an MLflow model, and detects models altered later.

Serving a model runs the code in it. A run's checkpoint is verified whenever it is read; the model is a copy
of it with code, in a separate folder, which is not read before the model is served. So the digest of all its
files is a tag of the logged model, and a promotion checks that the model is what the training run has logged.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

import ppi_train
from ppi_train.errors import CheckpointError
from ppi_train.io.files import file_digest
from ppi_train.tracking.connection import translated_errors
from ppi_train.tracking.outbox.records import Model
from ppi_train.tracking.runs import models_of, moved_error
from ppi_train.tracking.shortcuts import no_list_of_packages

TAG = "ppi.model_digest"
"""Tag of a logged model, and of the versions made from it."""

_PACKAGE = Path(ppi_train.__file__).parent
_CODE = Path(__file__).with_name("served_model.py")

# Sequences, or the IDs of proteins in an embedding cache: a table has either kind.
_COLUMNS = ("sequence_a", "sequence_b", "protein_a", "protein_b")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, name, required=False) for name in _COLUMNS]),
    outputs=Schema([ColSpec(DataType.double, name) for name in ("probability", "logit", "uncertainty")]),
)

_NO_FILES = hashlib.sha256().hexdigest()
_BY_MLFLOW = "registered_model_meta"  # added by the download of a registered version


def digest_of_folder(folder: Path) -> str:
    """SHA-256 of the paths and digests of all files in a folder."""
    hasher = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != _BY_MLFLOW:
            hasher.update(f"{name}\0{file_digest(path)}\n".encode())
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
        CheckpointError: its files are gone, or not those that were logged.
        TrackingError: no such model, or the server does not answer.
    """
    with translated_errors("verify the run's model", of_artifacts=True):
        logged = mlflow.MlflowClient().get_logged_model(model_id).tags.get(TAG)
        found = digest_of_logged_model(model_id) if logged else None
    if found == _NO_FILES:
        raise moved_error(f"models:/{model_id}")
    if found != logged:
        raise CheckpointError(
            "the run's model was altered after it was logged, and serving it would run its code",
            where=f"models:/{model_id}",
            got=f"digest {found}",
            expected=f"digest {logged}, which the tag {TAG} of the model has",
            remedy="find out who altered it; train again for a model to trust",
        )
    return found


def log_model(run_id: str, record: Model, folder: Path) -> str:
    """Logs a checkpoint folder as a run's model; returns its ID.

    Continues with what an interrupted attempt has left of the model: each step can be repeated. This is why
    the steps are separate here; a second `mlflow.pyfunc.log_model` would fail.

    Args:
        run_id: The run.
        record: The parts of the model.
        folder: The folder that the record's paths are relative to.
    """
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    left = models_of(run.info.experiment_id, run_id)
    model = left[0] if left else _created(client, run, record)
    known = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in [output.model_id for output in known]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    with tempfile.TemporaryDirectory() as scratch:
        files = _write_files(Path(scratch), record, folder, model)
        client.log_model_artifacts(model.model_id, str(files))
    # Computed from the server's files, since those are served. A model that is READY has the tag.
    client.set_logged_model_tags(model.model_id, {TAG: digest_of_logged_model(model.model_id)})
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def _write_files(scratch: Path, record: Model, folder: Path, model: LoggedModel) -> Path:
    """Writes the model as a folder in MLflow's format, for serving."""
    artifacts = {
        "checkpoint": str(folder / record.checkpoint),
        "package": str(_zipped_package(scratch)),
    }
    if record.embedder:
        artifacts["embedder"] = str(folder / record.embedder)
    described = MlflowModel(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        model_id=model.model_id,
        run_id=model.source_run_id,
    )
    with warnings.catch_warnings(), no_list_of_packages():
        warnings.simplefilter("ignore", UserWarning)  # advice for models without signature
        mlflow.pyfunc.save_model(
            path=str(scratch / "model"),
            mlflow_model=described,
            python_model=str(_CODE),
            artifacts=artifacts,
            # Only the names given here can be overridden.
            model_config={"scorer": record.scorer, "embedding_cache": ""},
            pip_requirements=list(record.requirements),
            signature=SIGNATURE,
            input_example=pd.DataFrame({name: list(column) for name, column in record.example.items()}),
        )
    for compiled in (scratch / "model").rglob("__pycache__"):
        shutil.rmtree(compiled)
    return scratch / "model"


def _name(record: Model) -> str:
    return re.sub(r"[^\w-]", "_", record.name)  # what MLflow accepts in the name of a logged model


def _created(client: mlflow.MlflowClient, run: Run, record: Model) -> LoggedModel:
    return client.create_logged_model(
        experiment_id=run.info.experiment_id,
        name=_name(record),
        source_run_id=run.info.run_id,
        tags=dict(record.tags),
        params={**record.parameters, **run.data.params},
    )


def _zipped_package(folder: Path) -> Path:
    """Writes this package as a zip file that Python can import from.

    Dozens of small uploads would take seconds.
    """
    path = folder / "ppi_train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(_PACKAGE.rglob("*.py")):
            # A fixed date, so that the same code gives the same bytes.
            member = zipfile.ZipInfo(str(source.relative_to(_PACKAGE.parent)))
            archive.writestr(member, source.read_bytes(), zipfile.ZIP_DEFLATED)
    return path
