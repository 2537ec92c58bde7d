"""The end of a sweep: the winner's model, its trainings with other seeds, the page, what comes next."""

from __future__ import annotations

import logging
import statistics
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from ppi_train.config.fields import describe_fields
from ppi_train.errors import UserError, counted
from ppi_train.io.files import write_file
from ppi_train.modes.base import PipelineResult, promotion_of
from ppi_train.modes.eval_only.report import made_by
from ppi_train.modes.sweep.page import sweep_content
from ppi_train.modes.sweep.result import SweepResult
from ppi_train.modes.sweep.space import SearchSpace
from ppi_train.modes.sweep.study import PARAMETERS, RUN_ID, Study, direction_of
from ppi_train.modes.sweep.trial import SweepJob
from ppi_train.modes.sweep.winner import log_winner
from ppi_train.modes.train.train_only import training_job
from ppi_train.reporting.page import render_report
from ppi_train.runs.configs import SweepConfig, TrainConfig
from ppi_train.runs.options import MOST_COMPARED
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.tracking.runs import is_there
from ppi_train.tracking.ui import TrialsView

logger = logging.getLogger(__name__)

PAGE = "sweep.html"


def concluded(
    config: SweepConfig, study: Study, job: SweepJob, space: SearchSpace, tracked: TrackedRun, output: Path
) -> PipelineResult:
    """Logs the winner as a model, trains it again if asked, writes the page, and says what comes next.

    Raises:
        UserError: no trial was completed.
    """
    best = study.best()
    if not best:
        raise UserError(
            "no trial was completed",
            where=f"study {study.place.name}",
            got="; ".join(
                f"{reason} ({counted(count, 'time')})" for reason, count in study.failures.most_common(1)
            ),
            remedy="mend what the trials have in common, and give another study=NAME; or give more trials",
        )
    winner, found = best[0], [str(trial.user_attrs[RUN_ID]) for trial in best]
    chosen = job.config.replace(**winner.user_attrs[PARAMETERS])
    log_winner(found[0], chosen, job)
    tracked.set_tags({"ppi.best_run_id": found[0], "ppi.best_trial": str(winner.number)})
    retrained = _train_again(config, chosen, study, winner.number, tracked)
    metrics = _metrics(study, winner, job, retrained)
    tracked.log_metrics(metrics)
    then = _next_commands(found, retrained)
    page = _write_page(study, job, space, tracked, output, retrained, then)
    _show_trials(job, space, tracked)
    tracked.describe(_description(winner, metrics, job, tracked))
    outputs = {"best_run_id": found[0], "study": study.place.name, "report": str(page)}
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs=outputs, then=then)


def _show_trials(job: SweepJob, space: SearchSpace, tracked: TrackedRun) -> None:
    """Saves a view of the study's runs, and says where it is."""
    sections = {spec.name: spec.parameter for spec in describe_fields(TrainConfig)}
    of_cost = {"seconds": "system/training_seconds"}
    metrics = (of_cost.get(name, f"{name}_best") for name in job.objectives if name != "weights")
    view = TrialsView(
        study=job.place.name,
        parameters=tuple(sections[name] for name in space.names),
        metrics=tuple(metrics),
        descending=direction_of(job.objectives[0]) == "maximize",
    )
    logger.info("its trials: %s", tracked.save_view(view))


def _train_again(
    config: SweepConfig, chosen: TrainConfig, study: Study, winner: int, tracked: TrackedRun
) -> dict[str, float]:
    """The objective by run of trainings with the winner's parameters and other seeds.

    Those that an earlier command on the study has made are taken.
    """
    objective = f"{config.sweep.objective[0]}_best"
    found = {}
    for number in range(1, config.sweep.retrain_seeds + 1):
        job = training_job(chosen.replace(seed=chosen.compute.seed + number))
        earlier = study.retrained(winner, job.config.compute.seed)
        if earlier and is_there(earlier[0]):
            found[earlier[0]] = earlier[1]
            continue
        try:
            with (
                tracked.child(job.mode) as child,
                run_folder(job.config.output.output_dir, child.run_id) as output,
            ):
                child.set_tags({"ppi.retrained": str(number)})
                value = job.train(child, output, None).metrics[objective]
            study.set_retrained(winner, job.config.compute.seed, child.run_id, value)
            found[child.run_id] = value
        except UserError as error:  # one that diverges does not take the page of the others along
            logger.warning(
                "the winner cannot be trained with seed %d: %s", job.config.compute.seed, error.what
            )
    return found


def _metrics(
    study: Study, winner: FrozenTrial, job: SweepJob, retrained: dict[str, float]
) -> dict[str, float]:
    values = zip(job.objectives, winner.values or (), strict=True)
    metrics = {"sweep/trials": float(len(study.ended)), **{f"{name}_best": value for name, value in values}}
    if retrained:
        metrics["sweep/retrained_mean"] = statistics.mean(retrained.values())
    return metrics


def _next_commands(found: list[str], retrained: dict[str, float]) -> tuple[str, ...]:
    """Commands on the winner, or on the median of its trainings with other seeds.

    The best of these would be one more choice on the validation pairs.
    """
    ranked = sorted(retrained, key=lambda run_id: retrained[run_id])
    final = ranked[len(ranked) // 2] if ranked else found[0]
    compared = list(dict.fromkeys([*found, *retrained]))[:MOST_COMPARED]
    return (
        *([f"compare -P run_ids={','.join(compared)}"] if len(compared) > 1 else []),
        f"eval_only -P run_id={final}",
        promotion_of(final),
    )


def _write_page(
    study: Study,
    job: SweepJob,
    space: SearchSpace,
    tracked: TrackedRun,
    output: Path,
    retrained: dict[str, float],
    then: tuple[str, ...],
) -> Path:
    """Writes the page of the sweep into its folder, and uploads it."""
    inputs = job.inputs(job.config)
    complete = study.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    paths = {trial.number: job.scores_of(str(trial.user_attrs[RUN_ID])) for trial in complete}
    scores = {number: np.fromfile(path, np.float32) for number, path in paths.items() if path.exists()}
    content = sweep_content(
        SweepResult(
            study=study.study,
            title=f"{', '.join(space.models or (job.config.model.model,))} on {inputs.name}",
            objectives=job.objectives,
            names=space.names,
            scores=scores,
            labels=inputs.tables["validation"].required_labels,
            link=lambda run_id: run_id,
            facts=(("data set", inputs.name), ("study", study.place.name), ("sampler", space.sampler)),
            commands=tuple(f"mlflow run . --env-manager local -e {command}" for command in then),
            retrained=tuple(retrained.items()),
        ),
        made_by=made_by(tracked),
    )
    path = output / PAGE
    write_file(path, render_report(content).encode())
    tracked.log_file(path)
    return path


def _description(winner: FrozenTrial, metrics: dict[str, float], job: SweepJob, tracked: TrackedRun) -> str:
    values = ", ".join(f"{name} {metrics[f'{name}_best']:.4f}" for name in job.objectives)
    best = tracked.link_to(str(winner.user_attrs[RUN_ID]), f"trial {winner.number}")
    lines = [
        f"**{values}** by {best}, the best of {metrics['sweep/trials']:.0f} trials on validation, which is "
        "optimistic.",
        f"The page of this sweep: {tracked.link_to_artifact(PAGE, PAGE)}.",
    ]
    return "\n\n".join(lines)
