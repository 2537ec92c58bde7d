"""Training of models: the loop, its tasks, the optimiser and signals."""
