"""Logging a checkpoint as an MLflow model, from code and plain data."""

from __future__ import annotations

import warnings
from pathlib import Path

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

import ppi_train

_PACKAGE = Path(ppi_train.__file__).parent
_CODE = Path(__file__).with_name("served_model.py")

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "sequence_a"), ColSpec(DataType.string, "sequence_b")]),
    outputs=Schema([ColSpec(DataType.double, "probability"), ColSpec(DataType.double, "logit")]),
)


def log_model(
    checkpoint: Path,
    *,
    scorer: str,
    requirements: list[str],
    parameters: dict[str, str],
    tags: dict[str, str],
) -> str:
    """Logs a checkpoint folder as a model of the active run; returns the model's ID.

    Args:
        checkpoint: A finished checkpoint.
        scorer: `module:name` of what is called with that folder to get a scorer of sequences.
        requirements: What `pip` must install for the model to be served.
        parameters, tags: Shown with the model.

    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice for models without signature
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_CODE),
            artifacts={"checkpoint": str(checkpoint)},
            model_config={"scorer": scorer},
            code_paths=[str(_PACKAGE)],
            pip_requirements=requirements,
            signature=SIGNATURE,
            params=parameters,
            tags=tags,
        )
    return str(info.model_id)
