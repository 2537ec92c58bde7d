"""The pyfunc behind a logged model: pairs in, their scores out, nothing unpickled.

MLflow runs this file to make the model ("models from code"); the checkpoint comes as an artifact.
The scorer is named by text in the model's config, since this package does not import pipelines.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """Scores a table of `sequence_a`, `sequence_b`, or of `protein_a`, `protein_b` with a cache."""

    def load_context(self, context: PythonModelContext) -> None:
        # The code that trained the model, unless this process has imported a ppi_train already.
        sys.path.insert(0, context.artifacts["package"])
        scorer = pkgutil.resolve_name(context.model_config["scorer"])
        # Whoever serves names the cache; a request cannot make the server open files.
        embeddings = context.model_config.get("embedding_cache") or os.environ.get("PPI_TRAIN_EMBEDDINGS")
        embedder = context.artifacts.get("embedder")
        self._scorer = scorer(
            Path(context.artifacts["checkpoint"]), embeddings or None, Path(embedder) if embedder else None
        )
        self._mistake = pkgutil.resolve_name("ppi_train.errors:UserError")

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """A row of `probability`, `logit` and `uncertainty` for each pair, in the order of the input.

        The last is the standard deviation of the logit by what the model does not know; 0 for a model
        that cannot tell.

        Raises:
            MlflowException: the pairs cannot be scored; a server answers 400 with the message.
        """
        del context, params  # MLflow's signature
        try:
            table = {name: list(model_input[name]) for name in model_input.columns}
            logits, deviations = self._scorer.with_uncertainty(table)
        except self._mistake as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame(
            {
                "probability": probabilities(logits),
                "logit": logits.astype(np.float64),
                "uncertainty": deviations.astype(np.float64),
            }
        )


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow; (n,) float64."""
    half = np.tanh(logits.astype(np.float64) / 2)
    return np.asarray((1 + half) / 2)


set_model(ServedModel())
