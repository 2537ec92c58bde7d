"""All communication with MLflow; no other package imports it."""

import os

# MLflow reads this when it is first imported; whoever wants its telemetry sets the variable to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
