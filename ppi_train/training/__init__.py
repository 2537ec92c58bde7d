"""Trainer, callbacks, optimiser and schedule, and the tasks that models learn."""
