"""MLflow's scoring server for a logged model, as an application that further pages can be added to."""

from __future__ import annotations

import mlflow
from fastapi import FastAPI
from mlflow.pyfunc import scoring_server

from ppi_train.tracking.connection import translated_errors
from ppi_train.tracking.logged_model import verified_model


def scoring_app(model_id: str) -> FastAPI:
    """The application that `mlflow models serve` runs: `/invocations`, `/ping`, `/health`, `/version`.

    Loading the model runs the code in it, so its files are verified first.

    Raises:
        CheckpointError: the model was altered after it was logged.
        TrackingError: it cannot be loaded.
    """
    verified_model(model_id)
    with translated_errors("load the model", of_artifacts=True):
        model = mlflow.pyfunc.load_model(f"models:/{model_id}")
    app: FastAPI = scoring_server.init(model)
    return app
