"""The `sweep` mode: searches hyper-parameters, with a nested run a trial."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna

from ppi_train.config.loading import logged_parameters
from ppi_train.errors import UserError, counted
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.sweep.ending import concluded
from ppi_train.modes.sweep.searched import Searched
from ppi_train.modes.sweep.space import SearchSpace, default_space, read_space
from ppi_train.modes.sweep.study import (
    PARAMETERS,
    RUN_ID,
    Study,
    TrialResult,
    locked,
    place_of,
)
from ppi_train.modes.sweep.trial import SweepJob, result_before_loss, run_trial, shared_inputs, short
from ppi_train.modes.workers import tracked_pool
from ppi_train.parallel.pool import check_files_visible
from ppi_train.runs.config import part_of, values_of_result
from ppi_train.runs.configs import SweepConfig, TrainConfig
from ppi_train.runs.inputs import SplitInputs
from ppi_train.runs.own_data import with_own_data
from ppi_train.tracking.connection import server_address
from ppi_train.tracking.run import TrackedRun, mark_lost, mark_lost_children
from ppi_train.tracking.run_folder import run_folder
from ppi_train.tracking.runs import get_run

logger = logging.getLogger(__name__)

# So many failed trials, and no other, end a sweep.
MOST_FAILED = 10
# Values of a range that embeddings depend on; more are left to the trials that draw them.
MOST_MADE_BEFORE = 16


def run(config: SweepConfig, tracked: TrackedRun) -> PipelineResult:
    """Draws and trains trials until the study has as many as asked for.

    Raises:
        UserError: the search space or the data are wrong, the study is of another search, or the first ten
            trials all failed.
    """
    space = _space(config)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    base = with_own_data(_trial_config(config), tracked)
    inputs = _prepared(base, space, tracked.run_id)
    options = config.sweep
    identity = _identity(config, base, space, inputs)
    models = space.models or (config.model.model,)
    label = "-".join((*models, inputs.name))
    place = place_of(options, config.data.data_dir, identity, label, tracked.run_id)
    tracked.identify(model=", ".join(models), dataset=inputs.name, study=place.name)
    tracked.log_parameters(logged_parameters(config))
    with run_folder(config.output.output_dir, tracked.run_id) as output, locked(place):
        study = Study(place, space, options, model=config.model.model, parallel=config.parallel.parallel)
        study.check_identity(identity)
        _check_best_is_there(study)
        job = SweepJob(
            parent=tracked.run_id,
            server=server_address(),
            here=Path.cwd(),
            place=place,
            config=base,
            objectives=options.objective,
            pruner=options.pruner if options.prunes else "none",
            scores=(Path(config.data.data_dir) / "sweeps" / f"{place.name}.scores").absolute(),
        )
        logger.info(
            "study %s: %d trials are there, of %d asked for", place.name, len(study.ended), study.size
        )
        with _nothing_left_running(study, tracked):
            _search(config, study, job, tracked)
        return concluded(config, study, job, space, tracked, output)


def _space(config: SweepConfig) -> SearchSpace:
    training = part_of(config, TrainConfig)
    given = config.names_given & training.values.keys()
    if config.sweep.search:
        return read_space(config.sweep.search, training, given)
    return default_space(config.model.model, training, given)


def _trial_config(config: SweepConfig) -> TrainConfig:
    """The training of a trial; its best epoch is that of the objective, unless another is asked for."""
    base = part_of(config, TrainConfig)
    metric = "early_stopping_metric"
    return base if metric in config.names_given else base.replace(**{metric: config.sweep.objective[0]})


def _prepared(base: TrainConfig, space: SearchSpace, sweep: str) -> SplitInputs:
    """The inputs of the command; all embeddings that trials may need are made."""
    of_inputs = {*vars(base.embedder), *vars(base.cache)}
    searched = [item for item in space.parameters if item.name in of_inputs and _has_few_values(item)]
    for point in itertools.product(*(item.all_values() for item in searched)):
        values = {item.name: value for item, value in zip(searched, point, strict=True)}
        last = shared_inputs(base.replace(**values), sweep)
    return last


def _has_few_values(item: Searched) -> bool:
    return item.kind == "choice" or (item.kind == "integer" and item.count <= MOST_MADE_BEFORE)


def _identity(
    config: SweepConfig, base: TrainConfig, space: SearchSpace, inputs: SplitInputs
) -> dict[str, object]:
    """What makes two sweeps the same study."""
    options = config.sweep
    return {
        "space": space.description(),
        "sampler": space.sampler,
        "training": values_of_result(base),
        "data": dict(inputs.digests),
        "objective": list(options.objective),
        "pruner": options.pruner,
        "search_seed": options.search_seed,
    }


def _check_best_is_there(study: Study) -> None:
    """Refuses to go on where the sweep could not end: without the run of the best trial.

    Raises:
        TrackingError: the run was deleted, or is at another server.
    """
    if best := study.best():
        remedy = "use the tracking server of the study's trials, or give another study=NAME"
        get_run(str(best[0].user_attrs[RUN_ID]), named_by="the best trial's run", remedy=remedy)


@contextmanager
def _nothing_left_running(study: Study, tracked: TrackedRun) -> Iterator[None]:
    """Ends what processes that are gone have left, before and after the block."""
    parents = study.parents(tracked.run_id, tracked.experiment_id)
    for run_id, _ in parents:
        mark_lost(run_id, "the process of this sweep was lost")
    _end_lost(study, parents)
    try:
        yield
    finally:
        _end_lost(study, [(tracked.run_id, tracked.experiment_id)])


def _end_lost(study: Study, parents: list[tuple[str, str]]) -> None:
    for run_id, experiment_id in parents:
        mark_lost_children(run_id, experiment_id, "the process of this trial was lost")
    if count := study.end_running(result_before_loss):
        logger.info("trials whose process was lost, to be tried again: %d", count)


def _search(config: SweepConfig, study: Study, job: SweepJob, tracked: TrackedRun) -> None:
    with tracked_pool(config.parallel, tracked) as pool:
        check_files_visible(pool, [Path.cwd(), Path(config.data.data_dir), Path(config.output.output_dir)])
        # Lost trials are drawn again; a task that is done again only says that its trial was lost.
        while len(study.ended) < study.size:
            for number, result in pool.run(run_trial, job, study.numbers(), ahead=1):
                study.tell(number, result)
                _note(study, number, result, job, tracked)
                _stop_if_all_fail(study)


def _note(study: Study, number: int, result: TrialResult, job: SweepJob, tracked: TrackedRun) -> None:
    """Says how a trial ended, and logs its values as a course of the sweep."""
    values = dict(zip(job.objectives, result.values, strict=True)) if result.values else {}
    tracked.log_metrics(
        {f"trial/{name.removeprefix('val/')}": value for name, value in values.items()}, number
    )
    found = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
    parameters = study.study.get_trials(deepcopy=False)[number].user_attrs.get(PARAMETERS, {})
    shown = ", ".join(f"{name}={short(value)}" for name, value in parameters.items())
    logger.info(
        "trial %d (%d of %d): %s; %s",
        number, len(study.ended), study.size, found or result.reason or result.state, shown,
    )  # fmt: skip


def _stop_if_all_fail(study: Study) -> None:
    failed = study.failures.total()
    if failed < MOST_FAILED or failed < len(study.ended):
        return
    reason, count = study.failures.most_common(1)[0]
    raise UserError(
        f"all {failed} trials failed",
        where=f"study {study.place.name}",
        got=f"{reason} ({counted(count, 'time')})",
        remedy="mend what the trials have in common, and give another study=NAME",
    )
