"""The training loop, optimiser and schedule, device and precision, checkpoints, progress."""
