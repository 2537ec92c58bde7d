"""One file per run mode, wiring the layers below; `execute_pipeline` runs a mode by its name."""
