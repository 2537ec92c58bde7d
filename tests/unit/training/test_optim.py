"""Tests of the learning-rate schedules and the weight-decay groups."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from ppi_train.config.options import TrainingOptions
from ppi_train.runs.configs import TrainConfig
from ppi_train.training.optim import Schedule, build_optimizer

PEAK = 0.1
FLOOR = 0.01
STEPS = 100


def _schedule(**settings: object) -> Schedule:
    config = TrainConfig.of(**settings)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=PEAK)
    return Schedule(optimizer, config.scheduler, peak=PEAK, total_steps=STEPS)


def _rates(**settings: object) -> list[float]:
    schedule = _schedule(**settings)
    return [schedule.rate(step) for step in range(STEPS)]


def test_none_is_constant_whatever_else_is_given() -> None:
    assert _rates(scheduler="none", warmup_fraction=0.5, min_learning_rate=FLOOR) == [PEAK] * STEPS


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "plateau"])
def test_warm_up_rises_in_equal_steps_to_the_peak(scheduler: str) -> None:
    rates = _rates(scheduler=scheduler, warmup_fraction=0.2)
    assert rates[:20] == pytest.approx([PEAK * (step + 1) / 20 for step in range(20)])
    assert rates[20] == PEAK
    assert max(rates) == PEAK


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "one_cycle"])
def test_falls_steadily_from_the_peak_to_the_floor(scheduler: str) -> None:
    schedule = _schedule(scheduler=scheduler, warmup_fraction=0.2, min_learning_rate=FLOOR)
    falling = [schedule.rate(step) for step in range(20, STEPS + 1)]
    assert falling[0] == PEAK
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(FLOOR)
    assert falling[40] == pytest.approx((PEAK + FLOOR) / 2)


def test_cosine_and_linear_differ_between_the_ends() -> None:
    cosine, linear = (_rates(scheduler=scheduler, warmup_fraction=0.0) for scheduler in ("cosine", "linear"))
    assert linear[25] == pytest.approx(0.75 * PEAK)
    assert cosine[25] == pytest.approx(PEAK * (1 + math.cos(math.pi / 4)) / 2)


def test_one_cycle_rises_along_a_cosine_from_a_25th_of_the_peak() -> None:
    rates = _rates(scheduler="one_cycle", warmup_fraction=0.4)
    rising = rates[:40]
    assert PEAK / 25 < rising[0] < PEAK / 20
    assert rising == sorted(rising)
    assert rising[19] == pytest.approx((PEAK / 25 + PEAK) / 2)
    assert rising[-1] == PEAK


def test_a_floor_above_the_peak_does_not_raise_the_rate() -> None:
    for scheduler in ("none", "cosine", "linear", "one_cycle", "plateau"):
        assert max(_rates(scheduler=scheduler, min_learning_rate=10 * PEAK)) == pytest.approx(PEAK)


def test_plateau_halves_after_its_patience_and_stops_at_the_floor() -> None:
    schedule = _schedule(
        scheduler="plateau",
        warmup_fraction=0.0,
        plateau_patience=2,
        plateau_factor=0.5,
        min_learning_rate=0.04,
    )
    losses = [1.0, 0.9, 0.9, 0.95, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    seen = []
    for loss in losses:
        schedule.after_epoch(loss)
        seen.append(schedule.rate(0))
    assert seen == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.04] * 4)


def test_only_plateau_follows_the_validation_figure() -> None:
    for scheduler in ("none", "cosine", "linear", "one_cycle"):
        schedule = _schedule(scheduler=scheduler, plateau_patience=0)
        before = [schedule.rate(step) for step in range(STEPS)]
        for _ in range(5):
            schedule.after_epoch(1.0)
        assert [schedule.rate(step) for step in range(STEPS)] == before


def test_a_loaded_state_continues_the_same_course() -> None:
    settings = {"scheduler": "plateau", "warmup_fraction": 0.0, "plateau_patience": 1, "plateau_factor": 0.5}
    first = _schedule(**settings)
    for loss in (1.0, 1.0, 1.0, 0.9, 1.0):
        first.after_epoch(loss)
    second = _schedule(**settings)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.rate(0) == first.rate(0) == PEAK / 2
    second.after_epoch(0.95)
    assert second.rate(0) == PEAK / 4


def test_every_group_of_the_optimiser_gets_the_rate() -> None:
    config = TrainConfig.of(learning_rate=PEAK, warmup_fraction=0.1)
    optimizer = build_optimizer(nn.Linear(3, 2), config.training)
    schedule = Schedule(optimizer, config.scheduler, peak=PEAK, total_steps=STEPS)
    assert schedule.before_step(4) == pytest.approx(PEAK / 2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([PEAK / 2] * 2)


def test_matrices_are_decayed_and_biases_and_scales_are_not() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    model[2].requires_grad_(False)
    optimizer = build_optimizer(model, TrainingOptions(weight_decay=0.3))
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert [parameter is model[0].weight for parameter in decayed["params"]] == [True]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [names[id(parameter)] for parameter in plain["params"]] == ["0.bias", "1.weight", "1.bias"]
