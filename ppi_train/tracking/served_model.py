"""The pyfunc of a logged model, which scores pairs of proteins.

MLflow runs this file, of which every logged model has a copy, to make the model ("models from code"); the
checkpoint is an artifact. Nothing is unpickled. The scorer is looked up by the name in the model's config:
this package is lower than `serving`, and the copy must work with later versions of the project, which keep
that name.
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
    """Scores pairs, given as sequences or as IDs of an embedding cache.

    The columns of the table are `sequence_a` and `sequence_b`, or `protein_a` and `protein_b`.
    """

    def load_context(self, context: PythonModelContext) -> None:
        # The code that trained the model, unless this process has already imported ppi_train: then the path
        # would only lead the processes that it starts, such as workers, to other code than its own.
        if "ppi_train" not in sys.modules:
            sys.path.insert(0, context.artifacts["package"])
        scorer = pkgutil.resolve_name(context.model_config["scorer"])
        # The server's operator names the cache; a request cannot make the server open files.
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
        """Scores each pair, in the order of the input.

        The columns are `probability`, `logit` and `uncertainty`. The last is the standard deviation of the
        logit due to model uncertainty; 0 for a model without an estimate of it.

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
