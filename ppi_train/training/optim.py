"""Optimiser and learning-rate schedule.

The schedule is a pure function of the step, times a factor that only `plateau` changes. Its
whole state is three numbers, so that a resumed run continues it exactly.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppi_train.config.options import SchedulerOptions, TrainingOptions

# Smith & Topin 2019 (Super-Convergence), with PyTorch's defaults for where the cycle starts.
_ONE_CYCLE_START = 1 / 25


_AVERAGES = ("exp_avg", "exp_avg_sq")
_SETTINGS = ("lr", "betas", "eps", "weight_decay")


class AdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019), with the numbers of torch's fused one.

    The constructor and most methods of torch's optimisers import all of `torch.compile`, which costs a second
    and 100 MB; so none of them is called. States have torch's layout: either class reads those of the other.

    Args:
        groups: Each has `params` and `weight_decay`.
        lr: The learning rate.
        betas: How long the averages of gradients and of their squares remember.
    """

    # `GradScaler` then sets `grad_scale` and `found_inf` around a step, which needs no wait for the device.
    _step_supports_amp_scaling = True

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float]) -> None:
        # `fused` tells torch's class, where it continues such a state, to take the same kernel.
        self.param_groups = [
            {"lr": lr, "betas": betas, "eps": 1e-8, "fused": True, **group} for group in groups
        ]
        self.state = defaultdict(dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Changes the weights that have a gradient."""
        assert closure is None
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            states = [self._state_of(weight) for weight in weights]
            if not weights:
                continue
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                weights,
                [weight.grad for weight in weights],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=found_inf,
            )
            if found_inf is not None:  # the step was not taken
                torch._foreach_sub_(steps, [found_inf] * len(steps))

    def _state_of(self, weight: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
            state.update({name: torch.zeros_like(weight) for name in _AVERAGES})
        return state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        assert set_to_none
        for group in self.param_groups:
            for weight in group["params"]:
                weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Settings and state, in torch's layout: weights are numbered through all groups."""
        numbers = {weight: number for number, weight in enumerate(self._weights())}
        groups = [
            {**group, "params": [numbers[weight] for weight in group["params"]]}
            for group in self.param_groups
        ]
        return {
            "state": {numbers[weight]: state for weight, state in self.state.items()},
            "param_groups": groups,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a `state_dict`, of this class or of `torch.optim.AdamW`.

        Raises:
            KeyError, ValueError: it is of other weights.
        """
        saved = state_dict["param_groups"]
        sizes, given = ([len(group["params"]) for group in groups] for groups in (self.param_groups, saved))
        if sizes != given:
            raise ValueError(f"groups of {given} weights, for {sizes}")
        numbers = [number for group in saved for number in group["params"]]
        weights = dict(zip(numbers, self._weights(), strict=True))
        self.state.clear()
        for number, state in state_dict["state"].items():
            self.state[weights[number]] = _fitted(state, weights[number])
        for group, settings in zip(self.param_groups, saved, strict=True):
            group.update({name: settings[name] for name in _SETTINGS})

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.param_groups for weight in group["params"]]


def _fitted(state: Mapping[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
    """A weight's state, on its device.

    Raises:
        KeyError, ValueError: it is the state of another weight.
    """
    for name, shape in (("step", ()), *((name, weight.shape) for name in _AVERAGES)):
        if not isinstance(state[name], Tensor) or state[name].shape != shape:  # the kernel does not look
            raise ValueError(f"the optimiser's {name} is not of shape {tuple(shape)}")
    step = state["step"].to(weight.device, torch.float32)
    return {"step": step, **{name: state[name].to(weight) for name in _AVERAGES}}


def build_optimizer(model: nn.Module, options: TrainingOptions) -> AdamW:
    """AdamW for a model; biases and scales are not decayed."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=(0.9, options.adam_beta2),
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
