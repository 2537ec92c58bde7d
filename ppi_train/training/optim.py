"""Optimiser and learning-rate schedule.

The schedule is a pure function of the step, times a factor that only `plateau` changes. Its
whole state is three numbers, so that a resumed run continues it exactly.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ppi_train.config.options import SchedulerOptions, TrainingOptions

# Smith & Topin 2019 (Super-Convergence), with PyTorch's defaults for where the cycle starts.
_ONE_CYCLE_START = 1 / 25


def build_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019); biases and scales are not decayed."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=(0.9, options.adam_beta2),
        fused=True,
    )


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


class Schedule:
    """Sets the learning rate before each optimiser step.

    Args:
        optimizer: All of its groups get the same rate.
        options: The scheduler's settings.
        peak: The learning rate after warm-up.
        total_steps: Optimiser steps of the whole run.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, options: SchedulerOptions, *, peak: float, total_steps: int
    ) -> None:
        self._optimizer = optimizer
        self._options = options
        self._peak = peak
        self._total = total_steps
        self._warmup = round(options.warmup_fraction * total_steps) if options.scheduler != "none" else 0
        self._factor = 1.0
        self._best = math.inf
        self._waited = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        floor = min(self._options.min_learning_rate, self._peak)
        if step < self._warmup:
            return self._rising((step + 1) / self._warmup)
        progress = (step - self._warmup) / max(1, self._total - self._warmup)
        if self._options.scheduler in ("cosine", "one_cycle"):
            return _cosine(self._peak, floor, progress)
        if self._options.scheduler == "linear":
            return self._peak + (floor - self._peak) * progress
        return max(floor, self._peak * self._factor)

    def _rising(self, progress: float) -> float:
        if self._options.scheduler == "one_cycle":
            return _cosine(self._peak * _ONE_CYCLE_START, self._peak, progress)
        return self._peak * progress

    def before_step(self, step: int) -> float:
        """Sets and returns the rate of the optimiser step that follows."""
        rate = self.rate(step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def after_epoch(self, loss_like: float) -> None:
        """Updates `plateau` with the epoch's validation figure, lower being better."""
        if self._options.scheduler != "plateau":
            return
        if loss_like < self._best:
            self._best, self._waited = loss_like, 0
            return
        self._waited += 1
        if self._waited > self._options.plateau_patience:
            self._factor, self._waited = self._factor * self._options.plateau_factor, 0

    def state_dict(self) -> dict[str, float]:
        return {"factor": self._factor, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._factor, self._best, self._waited = state["factor"], state["best"], int(state["waited"])
