"""Logging a checkpoint as an MLflow model, from code and plain data."""

from __future__ import annotations

import re
import tempfile
import warnings
import zipfile
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

import ppi_train
from ppi_train.tracking.lookup import models_of
from ppi_train.tracking.model_digest import TAG, digest_of_logged_model
from ppi_train.tracking.records import Model

_PACKAGE = Path(ppi_train.__file__).parent
_CODE = Path(__file__).with_name("served_model.py")

# Sequences, or the IDs of proteins in an embedding cache: a table has one of the two kinds.
_COLUMNS = ("sequence_a", "sequence_b", "protein_a", "protein_b")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, name, required=False) for name in _COLUMNS]),
    outputs=Schema([ColSpec(DataType.double, name) for name in ("probability", "logit", "uncertainty")]),
)


def log_model(run_id: str, record: Model, folder: Path) -> str:
    """Logs a checkpoint folder as a model of a run; returns the model's ID.

    What an attempt that was broken off has left of the model is taken up.

    Args:
        run_id: The run.
        record: What the model is made of.
        folder: What the record's paths are relative to.
    """
    model_id = _unfinished(run_id) or _created(run_id, record)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice for models without signature
        checkpoint, package = folder / record.checkpoint, _zipped_package(Path(scratch))
        artifacts = {"checkpoint": str(checkpoint), "package": str(package)}
        if record.embedder:
            artifacts["embedder"] = str(folder / record.embedder)
        # `mlflow.pyfunc.log_model` knows the run of its own thread only.
        info = MlflowModel.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model_id,
            name=_name(record),
            python_model=str(_CODE),
            artifacts=artifacts,
            # Only what is named can be overridden.
            model_config={"scorer": record.scorer, "embedding_cache": ""},
            pip_requirements=list(record.requirements),
            signature=SIGNATURE,
            input_example=pd.DataFrame({name: list(column) for name, column in record.example.items()}),
        )
    model_id = str(info.model_id)
    mlflow.MlflowClient().set_logged_model_tags(model_id, {TAG: digest_of_logged_model(model_id)})
    return model_id


def _name(record: Model) -> str:
    return re.sub(r"[^\w.-]", "_", record.name)  # what MLflow accepts in a model's name


def _unfinished(run_id: str) -> str | None:
    run = mlflow.MlflowClient().get_run(run_id)
    left = models_of(run.info.experiment_id, run_id)
    return str(left[0].model_id) if left else None


def _created(run_id: str, record: Model) -> str:
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    model = client.create_logged_model(
        experiment_id=run.info.experiment_id,
        name=_name(record),
        source_run_id=run_id,
        tags=dict(record.tags),
        params={**record.parameters, **run.data.params},
    )
    return str(model.model_id)


def _zipped_package(folder: Path) -> Path:
    """This package as one file that Python imports from: dozens of small uploads would take seconds."""
    path = folder / "ppi_train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(_PACKAGE.rglob("*.py")):
            # A fixed date, so that the same code gives the same bytes.
            member = zipfile.ZipInfo(str(source.relative_to(_PACKAGE.parent)))
            archive.writestr(member, source.read_bytes(), zipfile.ZIP_DEFLATED)
    return path
