"""One thin command per MLflow entry point."""
