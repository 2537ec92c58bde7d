"""The run modes: one table of them, and their execution by name.

The table is also what the command line lists, what MLproject is tested against and what README shows.
A mode's function is imported when the mode is executed: the table itself needs neither torch nor mlflow.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import load_config
from ppi_train.config.options import started_processes
from ppi_train.config.places import in_stores
from ppi_train.errors import ConfigError, addressed, nearest
from ppi_train.modes.base import ModeFunction, PipelineResult, tracking_of
from ppi_train.modes.faults import reported_faults
from ppi_train.runs import configs

__all__ = ["MODES", "Mode", "PipelineResult", "execute_pipeline", "find_mode", "refuse_several_processes"]

logger = logging.getLogger(__name__)

# How launchers say the number of processes in a job step, whose tasks may also be separate runs on purpose.
_TASKS_OF_STEP = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A run mode: its names, config, function and description.

    `load` imports and returns the function. `example` has parameters that show the mode, as words of the form
    `name=value`. `trains`: whether several processes of a launcher can share the mode's work.
    """

    name: str
    aliases: tuple[str, ...]
    summary: str
    example: str
    system_metrics: bool
    trains: bool
    load: Callable[[], ModeFunction]

    @property
    def config(self) -> type[ModeConfig]:
        """The config class of the mode."""
        return configs.MODES[self.name]

    @property
    def names(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *self.aliases)


MODES: dict[str, Mode] = {}


def _mode(
    name: str,
    summary: str,
    *,
    example: str,
    aliases: tuple[str, ...] = (),
    system_metrics: bool = True,
    trains: bool = False,
) -> Callable[[Callable[[], ModeFunction]], Callable[[], ModeFunction]]:
    """Enters a mode in the table; used on the function that imports the mode's own function.

    `system_metrics` is off where the work is done in other runs or in the registry.
    """

    def add(load: Callable[[], ModeFunction]) -> Callable[[], ModeFunction]:
        MODES[name] = Mode(
            name=name,
            aliases=aliases,
            summary=summary,
            example=example,
            system_metrics=system_metrics,
            trains=trains,
            load=load,
        )
        return load

    return add


@_mode("prepare_data", "Fetch and verify a benchmark, or write the example", example="dataset=bernett")
def _prepare_data() -> ModeFunction:
    from ppi_train.modes.prepare_data import run

    return run


@_mode(
    "split",
    "Split a network into train, validation and test",
    example="pairs=edges.tsv method=c3 output=mine",
)
def _split() -> ModeFunction:
    from ppi_train.modes.split import run

    return run


@_mode("audit", "Measure what test and training set share", example="dataset=bernett")
def _audit() -> ModeFunction:
    from ppi_train.modes.audit import run

    return run


@_mode(
    "train_embedder",
    "Train a protein language model on your sequences",
    example="fasta=proteome.fasta",
    trains=True,
)
def _train_embedder() -> ModeFunction:
    from ppi_train.modes.train_embedder import run

    return run


@_mode("embed", "Make a Parquet embedding cache of a FASTA", example="fasta=my.fasta output=my.parquet")
def _embed() -> ModeFunction:
    from ppi_train.modes.embed import run

    return run


@_mode(
    "import_embeddings",
    "Make that cache of embeddings from elsewhere",
    example="source=my.h5 fasta=my.fasta output=my.parquet embedder_name=esm2_t33",
)
def _import_embeddings() -> ModeFunction:
    from ppi_train.modes.import_embeddings import run

    return run


@_mode(
    "train_only",
    "Train, log, checkpoint, evaluate on validation",
    aliases=("pretrain_only",),
    example="dataset=bernett seed=1",
    trains=True,
)
def _train_only() -> ModeFunction:
    from ppi_train.modes.train.train_only import run

    return run


@_mode(
    "sweep",
    "Search hyper-parameters, a nested run a trial",
    example="dataset=bernett trials=20 workers=2",
    system_metrics=False,
)
def _sweep() -> ModeFunction:
    from ppi_train.modes.sweep import run

    return run


@_mode(
    "finetune_from_pretrain",
    "Train on from the weights of an earlier run",
    example="pretrain_run_id=RUN_ID dataset=pring_arath",
    trains=True,
)
def _finetune_from_pretrain() -> ModeFunction:
    from ppi_train.modes.train.finetune import run

    return run


@_mode(
    "resume",
    "Continue an interrupted run exactly, in the same run",
    example="run_id=RUN_ID",
    system_metrics=False,
    trains=True,
)
def _resume() -> ModeFunction:
    from ppi_train.modes.train.resume import run

    return run


@_mode(
    "sync",
    "Send what runs could not, offline or in an outage",
    example="journal=PATH",
    system_metrics=False,
)
def _sync() -> ModeFunction:
    from ppi_train.modes.sync import run

    return run


@_mode(
    "clean",
    "List what fills the disk; free what can be made again",
    example="free=embeddings,runs older_than_days=30",
    system_metrics=False,
)
def _clean() -> ModeFunction:
    from ppi_train.modes.clean import run

    return run


@_mode("eval_only", "Score a test set with a run or registered model", example="run_id=RUN_ID")
def _eval_only() -> ModeFunction:
    from ppi_train.modes.eval_only import run

    return run


@_mode("compare", "Score the same pairs with several runs", example="run_ids=RUN_ID,ANOTHER_ID")
def _compare() -> ModeFunction:
    from ppi_train.modes.compare import run

    return run


@_mode(
    "predict",
    "Score pairs, all pairs or a protein's partners",
    example="run_id=RUN_ID dataset=example all_pairs=true top_k=5 output=best.parquet",
)
def _predict() -> ModeFunction:
    from ppi_train.modes.predict import run

    return run


@_mode(
    "explain",
    "Find the residues that carried the score of a pair",
    example="run_id=RUN_ID dataset=bernett protein_a=P12830 protein_b=P35222",
)
def _explain() -> ModeFunction:
    from ppi_train.modes.explain import run

    return run


@_mode("serve", "Answer requests with a model, and show a page", example="model_uri=models:/ppi@champion")
def _serve() -> ModeFunction:
    from ppi_train.modes.serve import run

    return run


@_mode(
    "promote",
    "Register a model; move the alias if it is better",
    example="run_id=RUN_ID registered_model=ppi",
)
def _promote() -> ModeFunction:
    from ppi_train.modes.promote import run

    return run


@_mode(
    "rollback",
    "Give the alias back to the version before",
    example="registered_model=ppi",
    system_metrics=False,
)
def _rollback() -> ModeFunction:
    from ppi_train.modes.rollback import run

    return run


@_mode(
    "full_pipeline",
    "All of these in turn, one nested run a stage",
    aliases=("main",),
    example="dataset=bernett embedder=protein_lm",
    system_metrics=False,
    trains=True,
)
def _full_pipeline() -> ModeFunction:
    from ppi_train.modes.full_pipeline import run

    return run


def find_mode(name: str) -> Mode:
    """The mode of a name or alias.

    Raises:
        ConfigError: an unknown name; the message lists the nearest ones, and all.
    """
    by_name = {known: mode for mode in MODES.values() for known in mode.names}
    if name in by_name:
        return by_name[name]
    raise ConfigError(
        "there is no such run mode", got=name, expected=", ".join(by_name), remedy=nearest(name, by_name)
    )


def refuse_several_processes(mode: Mode) -> None:
    """Refuses to be one of several processes of a launcher, except in modes that train.

    Each would do the whole work, in a run of its own.

    Raises:
        ConfigError: WORLD_SIZE, which torchrun sets, is above 1, and the mode does not train, or the process
            has no RANK below it.
    """
    rank = os.environ.get("RANK", "")
    if started_processes() == 1 or (mode.trains and rank.isdecimal() and int(rank) < started_processes()):
        return
    if mode.trains:
        raise ConfigError(
            "several processes were started, and this one does not know which it is",
            where="the environment variable RANK",
            got=repr(rank),
            expected="a number below WORLD_SIZE, which torchrun sets; srun: RANK=$SLURM_PROCID",
        )
    raise ConfigError(
        f"{mode.name} is one process, and several were started",
        where="the environment variable WORLD_SIZE",
        got=os.environ["WORLD_SIZE"],
        expected="1, or no such variable",
        remedy="start the command without torchrun, or with --nproc-per-node=1; or unset WORLD_SIZE",
    )


def _warn_of_several_tasks() -> None:
    for name in _TASKS_OF_STEP:
        text = os.environ.get(name, "").strip()
        if text.isdecimal() and int(text) > 1 and started_processes() == 1:
            logger.warning(
                "%s=%s: each of these processes does the whole work, in a run of its own", name, text
            )
            return


def execute_pipeline(
    name: str, config: ModeConfig | Mapping[str, object], *, run_name: str = "", experiment: str = ""
) -> PipelineResult:
    """Runs a mode inside one tracked run.

    Args:
        name: A name or alias of the table.
        config: The mode's typed config, or its parameters by name.
        run_name: The name of the run; empty for one made of what it does.
        experiment: The name of its experiment; empty for that of MLflow's settings.

    Raises:
        UserError: the mode or the config is wrong, several processes share the job, or the run ended on a
            user's mistake; the run is then FAILED, with the message in its tag `ppi.error`.
    """
    mode = find_mode(name)
    refuse_several_processes(mode)
    _warn_of_several_tasks()
    if started_processes() == 1:
        return _execute(mode, config, run_name=run_name, experiment=experiment)
    with reported_faults({}):
        from ppi_train.modes.train.follower import follow_launcher  # torch, which `--help` does without
        from ppi_train.modes.train.processes import launched_ranks

        with launched_ranks() as group:
            if not group.is_first:
                follow_launcher(group)
                return PipelineResult(run_id="")
            result = _execute(mode, config, run_name=run_name, experiment=experiment)
            group.from_first(lambda: None)  # nothing more to train
            return result


def _execute(
    mode: Mode, config: ModeConfig | Mapping[str, object], *, run_name: str, experiment: str
) -> PipelineResult:
    """Runs a mode as the only or the first process."""
    if not isinstance(config, ModeConfig):
        config, warnings = load_config(mode.config, config)
        for warning in warnings:
            logger.warning("%s", warning)
    with reported_faults(config.values):
        function = mode.load()
        from ppi_train.modes.released import with_released_runs  # mlflow, which `--help` does without
        from ppi_train.tracking.run import TrackedRun

        tracking = replace(tracking_of(config), run_name=run_name, experiment=experiment)
        with (
            TrackedRun(
                mode.name, aliases=mode.aliases, system_metrics=mode.system_metrics, tracking=tracking
            ) as run,
            reported_faults(config.values),
            in_stores(with_released_runs(config)) as local,
        ):
            result = function(local, run)
    if not result.url:  # a mode that continues another run points to that one
        result = replace(result, url=run.url, places=run.places)
    result = _with_addresses(result)
    _point_on(result)
    return result


def _with_addresses(result: PipelineResult) -> PipelineResult:
    """The result with addresses in place of the paths of copies."""
    outputs = {name: addressed(path) for name, path in result.outputs.items()}
    return replace(result, outputs=outputs, then=tuple(map(addressed, result.then)))


def _point_on(result: PipelineResult) -> None:
    """Says where the result is, and what may come next."""
    if not result.places:  # no server has the run yet
        return
    for line in result.places:
        logger.info("%s", line)
    if "report" in result.outputs:
        logger.info("its report: %s", result.outputs["report"])
    for command in result.then:
        logger.info("next: mlflow run . --env-manager local -e %s", command)
