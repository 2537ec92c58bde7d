"""Training loop, optimiser, schedule, device, precision, checkpoints and progress."""
