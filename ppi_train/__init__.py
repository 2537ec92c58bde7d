"""Train, compare and promote protein-protein interaction models, every run tracked in MLflow."""

__version__ = "0.3.0"
