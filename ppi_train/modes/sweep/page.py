"""The content of the page of a sweep: what was found, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppi_train.errors import counted
from ppi_train.modes.sweep.headline import sweep_headline
from ppi_train.modes.sweep.result import (
    FEWEST_FOR_IMPORTANCE,
    FEWEST_TO_COMPARE,
    RESAMPLES,
    MeasuredSweep,
    SweepResult,
    objective_text,
)
from ppi_train.reporting.page import Column, Part, Picture, ReportContent, Row, Section, Table, columns

if TYPE_CHECKING:  # optuna is slow to import
    from optuna.trial import FrozenTrial

_LISTED = 10


def sweep_content(result: SweepResult, *, made_by: str) -> ReportContent:
    """Makes the page of a sweep, also of one without a finished trial."""
    sweep = MeasuredSweep(result)
    none = None if sweep.done else "No trial finished."
    return ReportContent(
        kind="Sweep",
        title=result.title,
        facts=(("trials", sweep.counts), ("objective", " and ".join(result.objectives)), *result.facts),
        headline=sweep_headline(sweep),
        trials=none or _best_trials(sweep),
        course=_course(sweep),
        parameters=none or _parameters(sweep),
        slices=none or _slices(sweep),
        failed=_failed(sweep),
        next_steps=Section(commands=result.commands) if result.commands else None,
        made_by=made_by,
    )


def _best_trials(sweep: MeasuredSweep) -> Section:
    shown = sweep.front[:_LISTED] if sweep.two else sweep.done[:_LISTED]
    tables = [_trials_table(sweep, shown)]
    if sweep.result.retrained:
        rows = [
            Row(cells=(sweep.result.link(run), objective_text(value)))
            for run, value in sweep.result.retrained
        ]
        tables.append(
            Table(
                caption="The best trial trained again with other seeds",
                columns=(Column(name="run", kind="code"), *columns((), (sweep.objective,))),
                rows=tuple(rows),
            )
        )
    return Section(text=tuple(_about_intervals(sweep)), tables=tuple(tables))


def _about_intervals(sweep: MeasuredSweep) -> list[str]:
    if sweep.luck is None:
        return [
            "There are no intervals: they need the scores of the trials, pairs of both classes, and AUROC, "
            "AUPRC or the loss as the first objective."
        ]
    missing = len(sweep.done) - len(sweep.measured)
    left_out = (
        f" They were computed of the {len(sweep.measured)} best trials with known scores." if missing else ""
    )
    return [
        f"The 95% intervals are by bootstrap, {RESAMPLES} resamples of the validation pairs, the same for "
        f"all trials.{left_out} Trials marked ≈ differ from the best by no more than chance on these pairs. "
        "Pairs of one protein err together, so that the intervals of a report, which draws proteins too, are "
        "wider. Pruned trials are not counted among those that the best was chosen from."
    ]


def _trials_table(sweep: MeasuredSweep, shown: Sequence[FrozenTrial]) -> Table:
    """Trials with their values, time, run and parameters."""
    luck = sweep.luck
    tied = {
        trial.number
        for trial, even in zip(sweep.measured, luck.tied if luck else (), strict=False)
        if even and trial is not sweep.measured[0]
    }
    best = sweep.done[0].number
    rows = []
    for trial in shown:
        estimate = sweep.interval(trial)
        cells = (
            str(trial.number),
            *(objective_text(value) for value in trial.values),
            *(
                [
                    f"{objective_text(estimate.low)} to {objective_text(estimate.high)}"
                    if estimate.interval
                    else ""
                ]
                if luck
                else []
            ),
            *(_parameter(trial.params[name]) if name in trial.params else "–" for name in sweep.shown_names),
            _seconds(trial),
            sweep.result.link(str(trial.user_attrs.get("run_id", ""))),
        )
        if trial.number == best:
            rows.append(Row(cells=cells, level="good", word="best"))
        elif trial.number in tied:
            rows.append(Row(cells=cells, level="even", word="even"))
        else:
            rows.append(Row(cells=cells))
    numbers = [*sweep.result.objectives, *(["95% interval"] if luck else []), *sweep.shown_names, "time"]
    which = "not beaten in both objectives" if sweep.two else f"best by {sweep.objective}"
    unlisted = len(sweep.result.names) - len(sweep.shown_names)
    others = f"; {counted(unlisted, 'other parameter')} in the runs" if unlisted > 0 else ""
    return Table(
        caption=f"Trials {which}{others}",
        columns=(
            Column(name="trial", kind="number"),
            *columns((), numbers),
            Column(name="run", kind="code"),
        ),
        rows=tuple(rows),
    )


def _course(sweep: MeasuredSweep) -> Part:
    from ppi_train.modes.sweep.figures import history_figure, pareto_figure
    from ppi_train.reporting.figures import as_svg

    if not sweep.trials:
        return "There was no trial."
    if sweep.two:
        if not sweep.done:
            return "No trial finished."
        front = ", ".join(str(trial.number) for trial in sweep.front)
        drawn = pareto_figure(sweep.trials, sweep.front, sweep.result.objectives)
        picture = Picture(
            svg=as_svg(drawn),
            alt=f"{' against '.join(sweep.result.objectives)} of the finished trials; on the front: {front}",
            caption="Trials on the line are not beaten in both objectives; their numbers are beside them.",
        )
        return Section(pictures=(picture,))
    direction = sweep.result.study.directions[0]
    drawn = history_figure(sweep.trials, sweep.objective, position=0, direction=direction)
    picture = Picture(
        svg=as_svg(drawn),
        alt=f"{sweep.objective} of each trial, and the best so far, over the number of the trial",
        caption="If the line of the best still rises near the end, more trials may help."
        if sweep.maximised
        else "If the line of the best still falls near the end, more trials may help.",
        shape="wide",
    )
    return Section(pictures=(picture,))


def _parameters(sweep: MeasuredSweep) -> Part:
    from ppi_train.modes.sweep.figures import importances_figure, parallel_figure
    from ppi_train.reporting.figures import as_svg

    if not any(name in trial.params for name in sweep.result.names for trial in sweep.done):
        return "No parameter was searched."
    if len(sweep.done) < FEWEST_TO_COMPARE:
        return "A single finished trial says nothing about its parameters."
    drawn = parallel_figure(sweep.done, sweep.shown_names, sweep.objective, sweep.result.study.directions[0])
    pictures = [
        Picture(
            svg=as_svg(drawn),
            alt=f"Each finished trial as a line across {', '.join(sweep.shown_names)} to {sweep.objective}",
            caption="Each finished trial is a line, the best one in red, better ones lighter. A line passes "
            "below the axis of a parameter that the trial does not use.",
            shape="wide",
        )
    ]
    if not sweep.importances:
        text = f"Importances need at least {FEWEST_FOR_IMPORTANCE} finished trials with different values."
        return Section(text=(text,), pictures=tuple(pictures))
    pictures.append(
        Picture(
            svg=as_svg(importances_figure(sweep.importances)),
            alt="Importance of each parameter: "
            + ", ".join(f"{name} {share:.2f}" for name, share in sweep.importances.items()),
            caption="How much each parameter tells the best tenth of the trials from the rest (PED-ANOVA).",
        )
    )
    text = (
        f"Importances of {counted(len(sweep.done), 'finished trial')} for {sweep.objective}. They sum to 1; "
        "with few trials they are a rough guide, and they do not say which values are good."
    )
    return Section(text=(text,), pictures=tuple(pictures))


def _slices(sweep: MeasuredSweep) -> Part:
    from ppi_train.modes.sweep.figures import slices_figure
    from ppi_train.reporting.figures import as_svg

    searched = any(name in trial.params for name in sweep.shown_names for trial in sweep.done)
    if not searched or len(sweep.done) < FEWEST_TO_COMPARE:
        return None
    drawn = slices_figure(sweep.done, sweep.shown_names, sweep.objective)
    picture = Picture(
        svg=as_svg(drawn),
        alt=f"{sweep.objective} of each finished trial over {', '.join(sweep.shown_names)}, a panel each",
        caption="A dot is a finished trial, later ones darker. If the best lie at an end, widen that range.",
        shape="wide",
    )
    return Section(pictures=(picture,))


def _failed(sweep: MeasuredSweep) -> Part:
    """The failed trials by reason, the most frequent first."""
    by_reason: dict[str, list[int]] = {}
    for trial in sweep.in_state("FAIL"):
        by_reason.setdefault(str(trial.user_attrs.get("reason", "unknown")), []).append(trial.number)
    if not by_reason:
        return None
    ordered = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[1]))
    rows = [Row(cells=(reason, f"{len(found)}", _listed(found))) for reason, found in ordered]
    return Section(
        tables=(
            Table(
                caption="Why trials failed",
                columns=(
                    Column(name="reason", kind="prose"),
                    Column(name="trials", kind="number"),
                    Column(name="numbers"),
                ),
                rows=tuple(rows),
            ),
        )
    )


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_LISTED]))
    return shown if len(numbers) <= _LISTED else f"{shown}, …"


def _seconds(trial: FrozenTrial) -> str:
    seconds = trial.user_attrs.get("seconds")
    if seconds is None:
        return ""
    return f"{seconds:,.1f} s" if seconds < 100 else f"{seconds / 60:,.1f} min"


def _parameter(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
