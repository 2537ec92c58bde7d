"""The pyfunc behind a logged model: sequences in, probability and logit out, nothing unpickled.

MLflow runs this file to make the model ("models from code"); the checkpoint comes as an artifact.
The scorer is named by text in the model's config, since this package does not import pipelines.
"""

from __future__ import annotations

import math
import pkgutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """Scores a table of `sequence_a`, `sequence_b`."""

    def load_context(self, context: PythonModelContext) -> None:
        # The code that trained the model, unless this process has imported a ppi_train already.
        sys.path.insert(0, context.artifacts["package"])
        scorer = pkgutil.resolve_name(context.model_config["scorer"])
        self._scorer = scorer(Path(context.artifacts["checkpoint"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """A row of `probability` and `logit` for each pair, in the order of the input."""
        del context, params  # MLflow's signature
        logits = self._scorer(list(model_input["sequence_a"]), list(model_input["sequence_b"]))
        probabilities = [1 / (1 + math.exp(-one)) for one in logits.tolist()]
        return pd.DataFrame({"probability": probabilities, "logit": logits.astype(float)})


set_model(ServedModel())
