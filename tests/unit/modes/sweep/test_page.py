"""Tests of the page of a sweep, with studies as Optuna makes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from ppi_train.evaluation.pair_metrics import pair_metrics, ranking_metrics
from ppi_train.modes.sweep.figures import ParameterAxis
from ppi_train.modes.sweep.page import sweep_content
from ppi_train.modes.sweep.result import SweepResult
from ppi_train.reporting.page import ReportContent, Section, render_report

Direction = Literal["maximize", "minimize"]
HOSTILE = "<script>alert('x')</script>$x_{$ & | \"'"
LABELS = (np.arange(400) % 2).astype(np.int8)


def realistic(trials: int = 30, directions: tuple[Direction, ...] = ("maximize",)) -> optuna.Study:
    """A study with conditional parameters, pruned trials and failed ones."""
    study = optuna.create_study(directions=list(directions), sampler=optuna.samplers.RandomSampler(seed=0))
    rng = np.random.default_rng(0)
    for number in range(trials):
        trial = study.ask()
        model = trial.suggest_categorical("model", ["pooled_mlp", "pair_transformer"])
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        if model == "pooled_mlp":
            trial.suggest_categorical("hidden", ["256", "512,256", "1024,512,256"])
        else:
            trial.suggest_int("layers", 1, 4)
        dropout = trial.suggest_float("dropout", 0.0, 0.5)
        trial.suggest_categorical("spectral_norm", [True, False])
        trial.suggest_categorical("batch_size", [64, 128, 256])
        trial.set_user_attr("run_id", f"{number:032x}")
        trial.set_user_attr("seconds", 12.5 + 9 * number)
        value = 0.66 - 0.02 * (math.log10(rate) + 3.3) ** 2 - 0.1 * (dropout - 0.2) ** 2
        value += float(rng.normal(scale=0.006))
        if number % 10 == 7:
            trial.set_user_attr("reason", "the loss is not finite")
            study.tell(trial, state=TrialState.FAIL)
        elif number % 5 == 3 and len(directions) == 1:
            trial.report(value - 0.03, 1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, [value, float(rng.uniform(10, 90))][: len(directions)])
    return study


def _with_auroc(noise: np.ndarray, value: float) -> np.ndarray:
    """Moves the positive pairs up until the AUROC is the value."""
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        reached = ranking_metrics(noise + middle * LABELS, LABELS)["auroc"]
        low, high = (middle, high) if reached < value else (low, middle)
    return np.asarray(noise + high * LABELS, dtype=np.float32)


def scores_of(study: optuna.Study) -> dict[int, np.ndarray]:
    """Logits whose AUROC is the value of the trial exactly, or nearly so."""
    rng = np.random.default_rng(1)
    shared = rng.normal(size=len(LABELS))
    return {
        trial.number: _with_auroc(shared + 0.5 * rng.normal(size=len(LABELS)), trial.values[0])
        for trial in study.trials
        if trial.state == TrialState.COMPLETE
    }


def result_of(study: optuna.Study, **changes: Any) -> SweepResult:
    names: Mapping[str, None] = dict.fromkeys(name for trial in study.trials for name in trial.params)
    result = SweepResult(
        study=study,
        title="pooled_mlp on bernett",
        objectives=("val/auroc", "seconds")[: len(study.directions)],
        names=tuple(names),
        scores=scores_of(study),
        labels=LABELS,
        link=lambda run: f"run {run[-6:]}",
        facts=(("data set", "bernett"),),
        commands=("mlflow run . --env-manager local -e eval_only -P run_id=1",),
    )
    return replace(result, **changes)


def content_of(study: optuna.Study, **changes: Any) -> ReportContent:
    return sweep_content(result_of(study, **changes), made_by="Made by a test.")


def section(part: object) -> Section:
    assert isinstance(part, Section)
    return part


def test_a_realistic_sweep_has_every_part() -> None:
    study = realistic()
    content = content_of(study, retrained=(("a" * 32, 0.65), ("b" * 32, 0.66)))
    assert [name for name, _, _ in content.parts()] == [
        "trials",
        "course",
        "parameters",
        "slices",
        "failed",
        "next_steps",
    ]
    assert content.facts[0] == ("trials", "30: 21 finished, 6 pruned, 3 failed")
    best = study.best_trial
    sentences = " ".join(content.headline.sentences)
    assert (
        f"The best of 21 finished trials is trial {best.number}, with val/auroc {best.value:.4f}" in sentences
    )
    assert "The choice of pairs makes it by bootstrap about 0.0" in sentences
    assert "Trained again with 2 other seeds, the best reaches 0.6550 on average" in sentences
    labels = [bar.label for bar in content.headline.scales[0].bars]
    assert labels == ["best trial", "best, other pairs", "best, other seeds", "median trial", "guessing"]
    assert len(section(content.parameters).pictures) == 2


def test_the_table_has_the_best_trials_in_order_with_intervals_and_parameters() -> None:
    study = realistic()
    table = section(content_of(study).trials).tables[0]
    finished = sorted((t for t in study.trials if t.state == TrialState.COMPLETE), key=lambda t: -t.values[0])
    assert [row.cells[0] for row in table.rows] == [str(trial.number) for trial in finished[:10]]
    assert table.rows[0].word == "best"
    assert " to " in table.rows[0].cells[2]
    names = [column.name for column in table.columns]
    layers = [row.cells[names.index("layers")] for row in table.rows]
    assert layers == [str(trial.params.get("layers", "–")) for trial in finished[:10]]
    assert table.rows[0].cells[-1] == f"run {finished[0].user_attrs['run_id'][-6:]}"


def test_failed_trials_are_counted_by_reason() -> None:
    rows = section(content_of(realistic()).failed).tables[0].rows
    assert [row.cells for row in rows] == [("the loss is not finite", "3", "7, 17, 27")]


def test_one_trial_is_neither_compared_nor_called_lucky() -> None:
    content = content_of(realistic(1))
    assert content.headline.sentences[0].startswith("The only finished trial is trial 0, with val/auroc")
    assert len(content.headline.sentences) == 1
    assert content.parameters == "A single finished trial says nothing about its parameters."
    assert render_report(content)


def test_few_trials_are_drawn_without_importances() -> None:
    part = section(content_of(realistic(6)).parameters)
    assert part.text == ("Importances need at least 10 finished trials with different values.",)
    assert len(part.pictures) == 1


def test_two_objectives_show_the_front() -> None:
    study = realistic(directions=("maximize", "minimize"))
    content = content_of(study)
    front = {str(trial.number) for trial in study.best_trials}
    assert {row.cells[0] for row in section(content.trials).tables[0].rows} == front
    assert "val/auroc against seconds" in section(content.course).pictures[0].alt
    assert f"{len(front)} trials are not beaten in both" in content.headline.sentences[1]


def test_a_loss_is_best_when_lowest() -> None:
    study = realistic(directions=("minimize",))
    content = content_of(study, objectives=("val/loss",))
    assert f"is trial {study.best_trial.number}, with val/loss" in content.headline.sentences[0]
    assert content.headline.scales == ()


def test_the_precision_in_networks_is_shown_with_what_guessing_gives() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    logits = {number: LABELS + np.random.default_rng(number).normal(size=len(LABELS)) for number in range(3)}
    for scored in logits.values():
        trial = study.ask()
        trial.suggest_float("dropout", 0.0, 0.5)
        trial.set_user_attr("run_id", f"{trial.number:032x}")
        study.tell(trial, pair_metrics(scored, LABELS, are_logits=True)["auprc_1to100"])
    (scale,) = content_of(study, objectives=("val/auprc_1to100",), scores=logits).headline.scales
    assert scale.name == "AUPRC at 1:100"
    best, guessing = scale.bars[0], scale.bars[-1]
    assert best.estimate.value == study.best_value
    assert best.estimate.interval
    assert (guessing.label, guessing.estimate.value) == ("guessing", 1 / 101)


def test_the_parameter_that_decides_is_the_most_important() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("matters", 0, 1) + 0.01 * t.suggest_float("other", 0, 1), 60)
    alt = section(content_of(study).parameters).pictures[1].alt
    assert alt.startswith("Importance of each parameter: matters ")


@pytest.mark.parametrize("state", [None, TrialState.FAIL, TrialState.PRUNED])
def test_a_sweep_without_a_finished_trial_has_a_page(state: TrialState | None) -> None:
    study = optuna.create_study(direction="maximize")
    if state is not None:
        study.tell(study.ask(), state=state)
    text = render_report(content_of(study))
    assert "No trial finished" in text


def test_equal_values_and_constant_parameters_are_drawn() -> None:
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda t: 0.5 + 0 * t.suggest_float("rate", 0.1, 0.1), 12)
    content = content_of(study)
    assert "with different values" in section(content.parameters).text[0]


def test_without_scores_the_warning_stays() -> None:
    content = content_of(realistic(), scores={}, labels=np.empty(0))
    assert "could not be estimated" in content.headline.sentences[1]
    assert "no intervals" in section(content.trials).text[0]


def test_values_that_are_not_finite_are_not_finished_trials() -> None:
    study = optuna.create_study(direction="maximize")
    for value in (0.5, math.inf, 0.6):
        study.add_trial(create_trial(value=value))
    assert content_of(study, scores={}).facts[0][1] == "3: 2 finished"


def test_names_and_values_are_escaped() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(
        lambda t: t.suggest_float(HOSTILE, 0, 1) + len(t.suggest_categorical("kind", [HOSTILE, "$a$"])), 12
    )
    failed = study.ask()
    failed.set_user_attr("reason", HOSTILE)
    study.tell(failed, state=TrialState.FAIL)
    text = render_report(content_of(study, title=HOSTILE, link=HOSTILE.__add__, objectives=(HOSTILE,)))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5


def test_a_page_of_the_same_study_is_the_same() -> None:
    study = realistic(12)
    assert render_report(content_of(study)) == render_report(content_of(study))


def test_axes_place_logarithms_choices_and_single_values() -> None:
    trials = realistic(50).trials
    rate = ParameterAxis.of("learning_rate", trials)
    assert rate is not None
    assert rate.place(math.sqrt(rate.low * rate.high)) == pytest.approx(0.5)
    batch = ParameterAxis.of("batch_size", trials)
    assert batch is not None
    assert batch.choices == (64, 128, 256)
    assert [batch.place(size) for size in batch.choices] == [0, 0.5, 1]
    layers = ParameterAxis.of("layers", trials)
    assert layers is not None
    assert layers.ticks()[1] == ["1", "2", "3", "4"]
    assert ParameterAxis.of("unknown", trials) is None
    assert ParameterAxis(name="constant", low=3, high=3).place(3) == 0.5
