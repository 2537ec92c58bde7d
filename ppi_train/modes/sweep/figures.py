"""The figures of a sweep: history, Pareto front, parallel coordinates, importances and slices.

Optuna's own need pyplot, and let long names overlap.
Every parameter is drawn on an axis from 0 to 1, whether it is a number, a logarithm or a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ppi_train.reporting.figures import BLUE, GREY, INK, VERMILLION, dress, new_figure

MOST_AXES = 9
"""More parameters than these are not drawn side by side."""

_SHOWN_CHOICES = 8
_LONGEST = 16
_UNUSED = -0.14  # where a trial is drawn that does not have the parameter
_PER_ROW = 3


@dataclass(frozen=True, kw_only=True)
class ParameterAxis:
    """An axis from 0 to 1 for the values of one parameter.

    Attributes:
        name: Of the parameter.
        choices: Its values in order, if it is not a number.
        low, high: The lowest and highest number that was tried.
        log: Whether numbers are placed by their logarithm.
        whole: Whether they are integers.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @classmethod
    def of(cls, name: str, trials: Sequence[FrozenTrial]) -> ParameterAxis | None:
        """The axis for these trials; None if none of them has the parameter."""
        having = [trial for trial in trials if name in trial.params]
        if not having:
            return None
        kinds = [trial.distributions[name] for trial in having]
        values = [trial.params[name] for trial in having]
        numbers = [
            value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        named = any(isinstance(kind, CategoricalDistribution) for kind in kinds)
        if len(numbers) < len(values) or (named and len(set(values)) <= _SHOWN_CHOICES):
            return cls(name=name, choices=_in_order(kinds, values))
        low, high = float(min(numbers)), float(max(numbers))
        log = low > 0 and any(getattr(kind, "log", False) for kind in kinds)
        return cls(name=name, low=low, high=high, log=log, whole=all(isinstance(v, int) for v in numbers))

    def place(self, value: Any) -> float:
        """Where a value lies; a value without neighbours lies in the middle."""
        if self.choices:
            position = self.choices.index(value)
            return position / (len(self.choices) - 1) if len(self.choices) > 1 else 0.5
        if self.low == self.high:
            return 0.5
        low, high, at = (self._scaled(number) for number in (self.low, self.high, float(value)))
        return (at - low) / (high - low)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Places and texts of some values."""
        if self.choices:
            step = -(-len(self.choices) // _SHOWN_CHOICES)
            shown = self.choices[::step]
            return [self.place(choice) for choice in shown], [shortened(str(choice)) for choice in shown]
        numbers = self._round_numbers()
        return [self.place(number) for number in numbers], [_number(number) for number in numbers]

    def _scaled(self, number: float) -> float:
        return math.log10(number) if self.log else number

    def _round_numbers(self) -> list[float]:
        """Round numbers between the ends, or else the ends."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        if self.log:
            decades = range(math.floor(low), math.ceil(high) + 1)
            steps = (1,) if high - low > 3 else (1, 3) if high - low > 1 else (1, 2, 3, 5, 7)
            numbers = [step * 10.0**decade for decade in decades for step in steps]
        else:
            locator = MaxNLocator(4, integer=self.whole, steps=[1, 2, 2.5, 5, 10])
            numbers = [float(tick) for tick in locator.tick_values(low, high)]
        inside = [number for number in numbers if self.low <= number <= self.high]
        return inside if len(inside) > 1 else sorted({self.low, self.high})


def history_figure(
    trials: Sequence[FrozenTrial], objective: str, *, position: int, direction: StudyDirection
) -> Figure:
    """One objective over the trials, with the best so far.

    Args:
        trials: Of any state; a pruned one is drawn at its last intermediate value.
        objective: Its name.
        position: Its place among the values of a trial.
        direction: Whether it is maximised.
    """
    figure = new_figure(10.0, 4.2)
    axes = figure.subplots()
    done = completed(trials)
    numbers, values = [trial.number for trial in done], [trial.values[position] for trial in done]
    running = np.maximum if direction == StudyDirection.MAXIMIZE else np.minimum
    if done:
        best = running.accumulate(values)
        end = max(trial.number for trial in trials)
        axes.step(
            [*numbers, end],
            [*best, best[-1]],
            where="post",
            color=VERMILLION,
            linewidth=1.8,
            label="best so far",
        )
        axes.plot(numbers, values, "o", color=BLUE, markersize=6, label=f"finished: {len(done)}")
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    last = {
        t.number: t.intermediate_values[max(t.intermediate_values)] for t in pruned if t.intermediate_values
    }
    last = {number: value for number, value in last.items() if math.isfinite(value)}
    if pruned:
        label = f"pruned, last value: {len(pruned)}"
        axes.plot(
            list(last), list(last.values()), "o", color=GREY, markersize=5, fillstyle="none", label=label
        )
    failed = [trial.number for trial in trials if trial.state == TrialState.FAIL]
    if failed:
        low = axes.get_ylim()[0]
        axes.plot(
            failed,
            [low] * len(failed),
            "x",
            color=INK,
            markersize=7,
            label=f"failed: {len(failed)}",
            clip_on=False,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(trials) == 1:
        axes.set_xlim(trials[0].number - 1, trials[0].number + 1)
    dress(axes, "", "trial", objective, legend=None)
    figure.legend(loc="outside upper center", ncols=4, fontsize=10.5, frameon=False)
    return figure


def pareto_figure(
    trials: Sequence[FrozenTrial], front: Sequence[FrozenTrial], objectives: Sequence[str]
) -> Figure:
    """Two objectives of the finished trials, with those that no other beats in both."""
    figure = new_figure(6.4, 4.8)
    axes = figure.subplots()
    best = {trial.number for trial in front}
    others = [trial.values for trial in completed(trials) if trial.number not in best]
    axes.plot(*_transposed(others), "o", color=GREY, markersize=5, fillstyle="none", label="beaten in both")
    ordered = sorted((trial for trial in front), key=lambda trial: trial.values[0])
    x, y = _transposed([trial.values for trial in ordered])
    axes.plot(x, y, "o-", color=BLUE, markersize=7, linewidth=1.2, label="Pareto front")
    for trial in ordered:
        axes.annotate(
            str(trial.number), trial.values[:2], (5, 5), textcoords="offset points", fontsize=9, color=INK
        )
    dress(axes, "", *objectives[:2])
    return figure


def parallel_figure(
    trials: Sequence[FrozenTrial], names: Sequence[str], objective: str, direction: StudyDirection
) -> Figure:
    """A line for each finished trial across its parameters to its objective.

    A trial that does not have a parameter passes below the axis.
    """
    done = sorted(completed(trials), key=lambda trial: trial.values[0])
    if direction == StudyDirection.MINIMIZE:
        done.reverse()  # the best last, on top
    parameters = [axis for name in names if (axis := ParameterAxis.of(name, done))]
    values = [trial.values[0] for trial in done]
    norm = Normalize(min(values), max(values))
    result = ParameterAxis(name=objective, low=norm.vmin or 0.0, high=norm.vmax or 0.0)
    figure = new_figure(max(6.0, 1.25 * (len(parameters) + 1)), 4.8)
    axes = figure.subplots()
    colours = colormaps["viridis" if direction == StudyDirection.MAXIMIZE else "viridis_r"]
    for rank, trial in enumerate(done):
        line = [a.place(trial.params[a.name]) if a.name in trial.params else _UNUSED for a in parameters]
        line.append(result.place(trial.values[0]))
        last = rank == len(done) - 1
        colour = VERMILLION if last else colours(norm(trial.values[0]))
        axes.plot(
            range(len(line)), line, color=colour, linewidth=2.6 if last else 1.2, alpha=1 if last else 0.65
        )
    for x, axis in enumerate([*parameters, result]):
        _draw_parallel_axis(axes, x, axis)
    if any(axis.name not in trial.params for axis in parameters for trial in done):
        axes.text(-0.08, _UNUSED, "not used", ha="right", va="center", fontsize=9, color=GREY)
    axes.set_xlim(-0.45, len(parameters) + 0.35)
    axes.set_ylim(_UNUSED - 0.04, 1.06)
    axes.set_axis_off()
    return figure


def _draw_parallel_axis(axes: Axes, x: int, axis: ParameterAxis) -> None:
    """A vertical line with the values of one parameter, and its name above."""
    axes.plot((x, x), (0, 1), color=INK, linewidth=1)
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6}
    for place, text in zip(*axis.ticks(), strict=True):
        axes.plot((x - 0.02, x), (place, place), color=INK, linewidth=1)
        axes.text(
            x - 0.04,
            place,
            text,
            ha="right",
            va="center",
            fontsize=10,
            color=INK,
            bbox=box,
            parse_math=False,
            zorder=5,
        )
    # neighbours at different heights, so that long names do not overlap
    axes.text(
        x,
        1.05 + 0.07 * (x % 2),
        shortened(axis.name, 22),
        ha="center",
        va="bottom",
        fontsize=11.5,
        color=INK,
        parse_math=False,
    )


def importances_figure(importances: Mapping[str, float]) -> Figure:
    """A bar for each parameter, the most important on top."""
    figure = new_figure(6.4, 1.0 + 0.36 * len(importances))
    axes = figure.subplots()
    shares, places = list(importances.values()), np.arange(len(importances))
    axes.barh(places, shares, color=BLUE, height=0.65)
    axes.invert_yaxis()
    for place, share in zip(places, shares, strict=True):
        axes.text(
            share + 0.01 * max(shares), float(place), f"{share:.2f}", va="center", fontsize=10, color=INK
        )
    axes.set_xlim(0, max(*shares, 1e-9) * 1.15)
    dress(axes, "", "share of the importance", "", legend=None)
    axes.set_yticks(places, [shortened(name, 30) for name in importances], parse_math=False)
    axes.grid(False, axis="y")
    return figure


def slices_figure(trials: Sequence[FrozenTrial], names: Sequence[str], objective: str) -> Figure:
    """The objective over each parameter, one panel each, later trials darker."""
    done = completed(trials)
    panels = [axis for name in names if (axis := ParameterAxis.of(name, done))]
    rows = -(-len(panels) // _PER_ROW)
    columns = min(_PER_ROW, len(panels))
    figure = new_figure(1.0 + 2.9 * columns, 2.7 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    norm = Normalize(0, max(trial.number for trial in done) or 1)
    for axes, axis in zip(grid, panels, strict=False):
        having = [trial for trial in done if axis.name in trial.params]
        axes.scatter(
            [axis.place(trial.params[axis.name]) for trial in having],
            [trial.values[0] for trial in having],
            c=[trial.number for trial in having],
            cmap="Blues",
            norm=norm,
            s=34,
            edgecolors=INK,
            linewidths=0.5,
        )
        dress(axes, "", "", "", legend=None)
        _draw_slice_axis(axes, axis)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.supylabel(objective, fontsize=13, color=INK, parse_math=False)
    if len(done) > 1:
        bar = figure.colorbar(
            ScalarMappable(norm, "Blues"), ax=grid.tolist(), shrink=0.6, aspect=35, pad=0.01
        )
        bar.set_label("trial", fontsize=11, color=INK)
        bar.locator = MaxNLocator(integer=True)
    return figure


def _draw_slice_axis(axes: Axes, axis: ParameterAxis) -> None:
    places, texts = axis.ticks()
    slanted = sum(map(len, texts)) > 20
    turn: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(places, texts, fontsize=10, parse_math=False, **turn)
    axes.set_xlim(-0.08, 1.08)
    axes.set_xlabel(shortened(axis.name, 22), fontsize=12, color=INK, parse_math=False)


def completed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The finished trials whose values are all finite."""
    return [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and all(math.isfinite(value) for value in trial.values)
    ]


def shortened(text: str, longest: int = _LONGEST) -> str:
    """A text of at most `longest` printable characters, without its middle if it is longer."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    if len(printable) <= longest:
        return printable
    start = longest // 2
    return f"{printable[:start]}…{printable[start + 1 - longest :]}"


def _in_order(
    kinds: Sequence[optuna.distributions.BaseDistribution], values: Sequence[Any]
) -> tuple[Any, ...]:
    """The values that were tried: numbers ascending, others in the order of the search space."""
    offered = [
        choice for kind in kinds if isinstance(kind, CategoricalDistribution) for choice in kind.choices
    ]
    tried = [choice for choice in dict.fromkeys([*offered, *values]) if choice in values]
    if all(isinstance(choice, int | float) for choice in tried):
        tried.sort()
    return tuple(tried)


def _transposed(values: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [pair[0] for pair in values], [pair[1] for pair in values]


def _number(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) and 1 <= abs(number) < 1e5 else f"{number:.3g}"
