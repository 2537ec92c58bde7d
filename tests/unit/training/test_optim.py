"""Tests of the learning-rate schedules and the weight-decay groups."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable

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


def _moved(optimizer: torch.optim.Optimizer, model: nn.Module, steps: range) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        for number, weight in enumerate(model.parameters()):
            # The last weight has no gradient at first: its state begins later.
            if number < 3 or step > 2:
                weight.grad = torch.randn(weight.shape, generator=draw)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (step + 1)
        optimizer.step()


def _two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(33, 17), nn.Linear(17, 5))


def _of_torch(model: nn.Module) -> torch.optim.AdamW:
    groups = build_optimizer(model, TrainingOptions(weight_decay=0.3)).param_groups
    return torch.optim.AdamW(
        [{name: group[name] for name in ("params", "weight_decay")} for group in groups],
        lr=3e-3,
        betas=(0.9, 0.999),
        fused=True,
    )


def _of_ours(model: nn.Module) -> torch.optim.Optimizer:
    return build_optimizer(model, TrainingOptions(weight_decay=0.3))


def test_the_numbers_are_those_of_torch() -> None:
    models = _two_layers(), _two_layers()
    for make, model in zip((_of_ours, _of_torch), models, strict=True):
        _moved(make(model), model, range(20))
    for ours, of_torch in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(ours, of_torch)


@pytest.mark.parametrize(("before", "after"), [(_of_torch, _of_ours), (_of_ours, _of_torch)])
def test_a_state_of_either_class_is_continued_by_the_other(
    before: Callable[[nn.Module], torch.optim.Optimizer], after: Callable[[nn.Module], torch.optim.Optimizer]
) -> None:
    whole, model = _two_layers(), _two_layers()
    _moved(_of_torch(whole), whole, range(12))
    first = before(model)
    _moved(first, model, range(5))
    second = after(model)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    _moved(second, model, range(5, 12))
    for weight, expected in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_a_state_of_other_weights_is_refused() -> None:
    model = _two_layers()
    optimizer = _of_ours(model)
    _moved(optimizer, model, range(4))
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"groups of \[2, 2\] weights, for \[1, 1\]"):
        _of_ours(nn.Linear(33, 17)).load_state_dict(state)
    others = nn.Sequential(nn.Linear(33, 16), nn.Linear(16, 5))
    with pytest.raises(ValueError, match=r"exp_avg is not of shape \(16, 33\)"):
        _of_ours(others).load_state_dict(state)


def test_a_scaled_step_that_overflows_is_not_taken() -> None:
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, TrainingOptions())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for gradient in (float("inf"), 8.0):
        before = model.weight.clone()
        scaler.scale(torch.zeros(()))  # makes the scale
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, gradient)
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before, model.weight) == math.isinf(gradient)
    state = optimizer.state[model.weight]
    assert state["step"] == 1
    assert state["exp_avg"].unique().item() == pytest.approx(0.1 * 8 / 2)  # the scale was halved
