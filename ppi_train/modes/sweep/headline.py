"""The first lines of the page of a sweep: the best trial, and how much of it is luck."""

from __future__ import annotations

import statistics

import numpy as np

from ppi_train.errors import counted
from ppi_train.evaluation.base_rate import BASE_RATES
from ppi_train.modes.sweep.result import FEWEST_TO_COMPARE, MeasuredSweep, objective_text
from ppi_train.reporting.page import Bar, Estimate, Headline, Scale
from ppi_train.reporting.sections import described


def sweep_headline(sweep: MeasuredSweep) -> Headline:
    """Says which trial is best, how much of that is luck, and what other seeds reach."""
    if not sweep.done:
        return Headline(sentences=(f"No trial finished. {counted(len(sweep.trials), 'trial')} were tried.",))
    best = sweep.done[0]
    estimate = sweep.interval(best)
    interval = (
        f" (95% interval {objective_text(estimate.low)} to {objective_text(estimate.high)})"
        if estimate.interval
        else ""
    )
    count = len(sweep.done)
    which = "The only finished trial" if count == 1 else f"The best of {count} finished trials"
    sentences = [
        f"{which} is trial {best.number}, with {sweep.objective} {objective_text(best.values[0])}{interval} "
        "on the validation pairs."
    ]
    if sweep.two:
        sentences.append(
            f"That is by the first objective alone: {counted(len(sweep.front), 'trial')} "
            f"{'is' if len(sweep.front) == 1 else 'are'} not beaten in both objectives."
        )
    sentences += _warning(sweep) + _retrained(sweep)
    return Headline(sentences=tuple(sentences), scales=_scales(sweep))


def _warning(sweep: MeasuredSweep) -> list[str]:
    """How much too good the value of the best trial is."""
    if len(sweep.done) < FEWEST_TO_COMPARE:
        return []
    general = (
        "It was chosen by this value, which is therefore too good: part of it is the luck of its seed and "
        "of these pairs."
    )
    luck = sweep.luck
    if luck is None or luck.n_trials < FEWEST_TO_COMPARE:
        return [f"{general} How much could not be estimated from these trials."]
    expected = objective_text(sweep.done[0].values[0] - sweep.sign * luck.optimism)
    size = f"{luck.optimism:.4f} ({luck.low:.4f} to {luck.high:.4f})"
    tied = int(luck.tied.sum()) - 1
    even = (
        "No other trial is" if tied == 0 else f"{counted(tied, 'other trial')} {'is' if tied == 1 else 'are'}"
    )
    return [
        f"{general} The choice of pairs makes it by bootstrap about {size} too good: the same weights have "
        f"about {expected} on other pairs of the same kind. {even} within chance of the best on these pairs."
    ]


def _retrained(sweep: MeasuredSweep) -> list[str]:
    values = [value for _, value in sweep.result.retrained]
    if not values and len(sweep.done) < FEWEST_TO_COMPARE:
        return []
    if not values:
        return ["What the seed adds is not measured: retrain_seeds=5 trains the best again with others."]
    spread = f" (standard deviation {objective_text(statistics.stdev(values))})" if len(values) > 1 else ""
    return [
        f"Trained again with {counted(len(values), 'other seed')}, the best reaches "
        f"{objective_text(statistics.fmean(values))} on average{spread}: that is what to expect."
    ]


def _scales(sweep: MeasuredSweep) -> tuple[Scale, ...]:
    """The best trial next to the median trial and guessing, for metrics from 0 to 1."""
    metric = sweep.objective.rsplit("/", 1)[-1]
    if metric not in ("auroc", "auprc", "auprc_1to100"):
        return ()
    bars = [Bar(label="best trial", estimate=sweep.interval(sweep.done[0]))]
    if sweep.luck and sweep.luck.n_trials >= FEWEST_TO_COMPARE:
        expected = sweep.done[0].values[0] - sweep.luck.optimism
        bars.append(Bar(label="best, other pairs", estimate=Estimate(value=expected)))
    if sweep.result.retrained:
        mean = statistics.fmean(value for _, value in sweep.result.retrained)
        bars.append(Bar(label="best, other seeds", estimate=Estimate(value=mean)))
    if len(sweep.done) >= FEWEST_TO_COMPARE:
        median = statistics.median(trial.values[0] for trial in sweep.done)
        bars.append(Bar(label="median trial", estimate=Estimate(value=median), of="baseline"))
    guessing = _guessing(metric, sweep.result.labels)
    if guessing is not None:
        bars.append(Bar(label="guessing", estimate=Estimate(value=guessing), of="chance"))
    label, _ = described(metric)
    return (Scale(name=label, meaning="on the validation pairs", bars=tuple(bars)),)


def _guessing(metric: str, labels: np.ndarray) -> float | None:
    """What a constant score reaches; None if it depends on labels (n,) that are not known."""
    known = {"auroc": 0.5, "auprc_1to100": BASE_RATES["1to100"]}
    if metric in known or not len(labels):
        return known.get(metric)
    return float(np.mean(labels))
