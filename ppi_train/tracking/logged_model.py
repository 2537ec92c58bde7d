"""Logging a checkpoint as an MLflow model, from code and plain data."""

from __future__ import annotations

import re
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

import ppi_train
from ppi_train.tracking.model_digest import TAG, digest_of_logged_model

_PACKAGE = Path(ppi_train.__file__).parent
_CODE = Path(__file__).with_name("served_model.py")

# Sequences, or the IDs of proteins in an embedding cache: a table has one of the two kinds.
_COLUMNS = ("sequence_a", "sequence_b", "protein_a", "protein_b")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, name, required=False) for name in _COLUMNS]),
    outputs=Schema([ColSpec(DataType.double, name) for name in ("probability", "logit", "uncertainty")]),
)


def log_model(
    name: str,
    checkpoint: Path,
    *,
    embedder: Path | None = None,
    scorer: str,
    example: Mapping[str, Sequence[str]],
    requirements: list[str],
    parameters: dict[str, str],
    tags: dict[str, str],
) -> str:
    """Logs a checkpoint folder as a model of the active run; returns the model's ID.

    Args:
        name: Shown in the UI.
        checkpoint: A finished checkpoint.
        embedder: The checkpoint of its embedder, if that has weights of its own.
        scorer: `module:name` of what is called with these folders to get a scorer of sequences.
        example: A few rows by column, which the UI shows as what the model takes.
        requirements: What `pip` must install for the model to be served.
        parameters, tags: Shown with the model.

    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice for models without signature
        artifacts = {"checkpoint": str(checkpoint), "package": str(_zipped_package(Path(folder)))}
        if embedder:
            artifacts["embedder"] = str(embedder)
        info = mlflow.pyfunc.log_model(
            name=re.sub(r"[^\w.-]", "_", name),  # what MLflow accepts in a model's name
            python_model=str(_CODE),
            artifacts=artifacts,
            model_config={"scorer": scorer, "embedding_cache": ""},  # only what is named can be overridden
            pip_requirements=requirements,
            signature=SIGNATURE,
            input_example=pd.DataFrame(dict(example)),
            params=parameters,
            tags=tags,
        )
    model_id = str(info.model_id)
    mlflow.MlflowClient().set_logged_model_tags(model_id, {TAG: digest_of_logged_model(model_id)})
    return model_id


def _zipped_package(folder: Path) -> Path:
    """This package as one file that Python imports from: dozens of small uploads would take seconds."""
    path = folder / "ppi_train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(_PACKAGE.rglob("*.py")):
            # A fixed date, so that the same code gives the same bytes.
            member = zipfile.ZipInfo(str(source.relative_to(_PACKAGE.parent)))
            archive.writestr(member, source.read_bytes(), zipfile.ZIP_DEFLATED)
    return path
