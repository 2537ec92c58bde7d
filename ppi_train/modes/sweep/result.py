"""The result of a sweep with what its page needs: the order of trials, intervals, importances."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast, get_args

import numpy as np

from ppi_train.evaluation.optimism import LEAST_OF_CLASS, BestOfMany, Metric, best_of_many
from ppi_train.reporting.page import Estimate

if TYPE_CHECKING:  # optuna is slow to import
    import optuna
    from optuna.trial import FrozenTrial

MOST_MEASURED = 40
"""Trials whose intervals are computed, the best ones: the time grows with their number."""

RESAMPLES = 200
FEWEST_TO_COMPARE = 2
FEWEST_FOR_IMPORTANCE = 10


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What the page of a sweep shows.

    Attributes:
        study: Its trials have the attributes `run_id`, `seconds` and, if they failed, `reason`.
        title: Such as `pooled_mlp on bernett`.
        objectives: One or two, such as `val/auroc`, in the order of the values of a trial.
        names: The searched parameters.
        scores: Validation logits (n,) by trial number, of some or all finished trials.
        labels: (n,) of the validation pairs.
        link: Makes of a run ID the text that is shown.
        facts: Names and values under the title.
        commands: What may come next.
        retrained: Run ID and first objective of the winner, trained again with other seeds.
    """

    study: optuna.Study
    title: str
    objectives: tuple[str, ...]
    names: tuple[str, ...]
    scores: Mapping[int, np.ndarray]
    labels: np.ndarray
    link: Callable[[str], str]
    facts: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()
    retrained: tuple[tuple[str, float], ...] = ()


class MeasuredSweep:
    """A result with what several parts of the page need, computed once."""

    def __init__(self, result: SweepResult) -> None:
        from optuna.study import StudyDirection

        from ppi_train.modes.sweep.figures import completed
        from ppi_train.modes.sweep.study import in_order, is_lost

        self.result = result
        trials = result.study.get_trials(deepcopy=False)
        self.trials = [trial for trial in trials if not is_lost(trial)]
        self.maximised = result.study.directions[0] == StudyDirection.MAXIMIZE
        self.done = in_order(completed(self.trials), self.objective)
        """The finished trials, the best by the first objective first."""

    @property
    def sign(self) -> int:
        return 1 if self.maximised else -1

    @property
    def objective(self) -> str:
        return self.result.objectives[0]

    @property
    def two(self) -> bool:
        return len(self.result.objectives) > 1

    def in_state(self, state: str) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state.name == state]

    @property
    def counts(self) -> str:
        """How many trials there are, and how they ended."""
        pruned, failed = len(self.in_state("PRUNED")), len(self.in_state("FAIL"))
        parts = [f"{len(self.done)} finished", *([f"{pruned} pruned"] if pruned else [])]
        parts += [f"{failed} failed"] if failed else []
        return f"{len(self.trials)}: {', '.join(parts)}"

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """The trials that no other beats in both objectives, the best by the first objective first."""
        best = {trial.number for trial in self.result.study.best_trials}
        return [trial for trial in self.done if trial.number in best]

    @cached_property
    def measured(self) -> list[FrozenTrial]:
        """The trials whose logits are measured."""
        return [trial for trial in self.done if trial.number in self.result.scores][:MOST_MEASURED]

    @cached_property
    def luck(self) -> BestOfMany | None:
        """Intervals and optimism; None if there are no logits, or the objective is no metric of them."""
        metric, labels = self.objective.rsplit("/", 1)[-1], np.asarray(self.result.labels).astype(np.int8)
        if not self.measured or metric not in get_args(Metric):
            return None
        if np.bincount(labels, minlength=2).min() < LEAST_OF_CLASS:
            return None
        logits = np.stack([self.result.scores[trial.number] for trial in self.measured])
        return best_of_many(logits, labels, metric=cast(Metric, metric), resamples=RESAMPLES, seed=0)

    def interval(self, trial: FrozenTrial) -> Estimate:
        """The first objective of a trial, with its interval if there is one."""
        numbers = [measured.number for measured in self.measured]
        if self.luck is None or trial.number not in numbers:
            return Estimate(value=trial.values[0])
        low, high = self.luck.intervals[numbers.index(trial.number)].tolist()
        return Estimate(value=trial.values[0], low=low, high=high)

    @cached_property
    def importances(self) -> dict[str, float]:
        """Share of each parameter, the most important first; empty if there are too few trials."""
        from optuna.importance import get_param_importances

        values = {trial.values[0] for trial in self.done}
        having = [name for name in self.result.names if any(name in trial.params for trial in self.done)]
        if len(self.done) < FEWEST_FOR_IMPORTANCE or len(values) == 1 or not having:
            return {}
        sign = self.sign  # PED-ANOVA takes the lowest values as the best
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes", UserWarning)
            return get_param_importances(
                self.result.study, params=having, target=lambda trial: -sign * trial.values[0]
            )

    @cached_property
    def shown_names(self) -> list[str]:
        """The parameters that are drawn and listed, the most important first."""
        from ppi_train.modes.sweep.figures import MOST_AXES

        return list(self.importances or self.result.names)[:MOST_AXES]


def objective_text(value: float | None) -> str:
    """A value of an objective: four decimals, fewer of large numbers."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
