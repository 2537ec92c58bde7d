"""All communication with MLflow; no other package imports it."""
