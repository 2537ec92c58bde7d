"""Pipeline stages as nested runs, with reuse of finished earlier runs."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import config_values
from ppi_train.modes.execute import PipelineResult
from ppi_train.modes.train.resume import continue_training
from ppi_train.modes.train.training_run import TrainingJob
from ppi_train.runs.lineage import code_version
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder, was_here
from ppi_train.tracking.runs import RunInfo, find_tagged

logger = logging.getLogger(__name__)

FINGERPRINT = "ppi.fingerprint"
# Paths, saving intervals and memory limits do not affect the result; input files count by their digests.
_PLACES = frozenset(
    {"data_dir", "output_dir", "mirror", "fasta", "embeddings", "checkpoint_every", "cache_memory_mb"}
    | {"tracking_flush_seconds", "offline"}
    | {"train_pairs", "val_pairs", "test_pairs", "exclude_fasta", "exclude_pairs"}
    | {"node_sets", "complexes", "essential", "non_essential"}
)
_NAMED = frozenset({"run_id", "pretrain_run_id"})

C = TypeVar("C", bound=ModeConfig)


def fingerprint(mode: str, config: ModeConfig, inputs: Mapping[str, object]) -> str:
    """sha256 over everything that determines a stage's result.

    This is the mode, the config, the digests of the inputs and the code version.
    """
    values = {name: value for name, value in config_values(config).items() if name not in _PLACES | _NAMED}
    content = {"mode": mode, "config": values, "inputs": dict(inputs), "code": code_version()}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


class Stages:
    """Runs stages as children of a parent run, and records them.

    Args:
        parent: The run of the pipeline.
        reuse: Whether finished or interrupted stages of earlier runs are reused.
    """

    def __init__(self, parent: TrackedRun, *, reuse: bool) -> None:
        self._parent, self._reuse = parent, reuse
        self._rows: list[tuple[str, str, str]] = []
        self.metrics: dict[str, float] = {}
        self.run_ids: dict[str, str] = {}

    @property
    def summary(self) -> str:
        return ", ".join(f"{name} {how} ({run_id})" for name, how, run_id in self._rows)

    def run(
        self,
        name: str,
        mode: str,
        config: C,
        pipeline: Callable[[C, TrackedRun], PipelineResult],
        *,
        inputs: Mapping[str, object] | None = None,
    ) -> None:
        """Runs a stage, unless a finished one with the same inputs exists."""
        key = fingerprint(mode, config, inputs or {})
        found = self._earlier(key)
        if found and found.status == "FINISHED":
            self._reuse_run(name, found)
            return
        logger.info("stage %s", name)
        with self._parent.child(mode) as tracked:
            tracked.set_tags({FINGERPRINT: key})
            self._note(name, "done", pipeline(config, tracked))

    def always(
        self, name: str, mode: str, config: C, pipeline: Callable[[C, TrackedRun], PipelineResult]
    ) -> PipelineResult:
        """Runs a stage whose result depends on more than its inputs."""
        logger.info("stage %s", name)
        with self._parent.child(mode) as tracked:
            result = pipeline(config, tracked)
        self._note(name, "done", result)
        return result

    def train(self, name: str, job: TrainingJob) -> str:
        """Starts or continues the training of a job; returns the run ID."""
        key = fingerprint(job.mode, job.config, job.digests)
        found = self._earlier(key)
        if found and found.status == "FINISHED":
            self._reuse_run(name, found)
        elif found and self._can_continue(found, job):
            logger.info("stage %s: continuing %s", name, found)
            self._note(name, "continued", continue_training(found.run_id, job))
        else:
            logger.info("stage %s", name)
            with (
                self._parent.child(job.mode) as tracked,
                run_folder(job.config.output.output_dir, tracked.run_id) as output,
            ):
                tracked.set_tags({FINGERPRINT: key})
                self._note(name, "done", job.train(tracked, output, None))
        return self.run_ids[name]

    def _earlier(self, key: str) -> RunInfo | None:
        return find_tagged(self._parent.experiment_id, FINGERPRINT, key) if self._reuse else None

    def _can_continue(self, found: RunInfo, job: TrainingJob) -> bool:
        """Whether the run can be continued from this machine.

        A killed process leaves its run in status RUNNING. Such a run is continued only on the machine where
        it ran.
        """
        here = was_here(job.config.output.output_dir, found.run_id)
        return here if found.running else found.checkpoints is not None or here

    def _reuse_run(self, name: str, found: RunInfo) -> None:
        logger.info("stage %s: reuses %s, whose inputs are the same", name, found)
        self._note(name, "reused", PipelineResult(run_id=found.run_id, metrics=found.metrics))

    def _note(self, name: str, how: str, result: PipelineResult) -> None:
        """Records a stage and its main metrics in the parent run."""
        self._rows.append((name, how, result.run_id))
        self.run_ids[name] = result.run_id
        shown = {
            metric: value
            for metric, value in result.metrics.items()
            if metric.startswith(("val/", "test/", "promotion/"))
        }
        self.metrics |= shown
        if shown:
            self._parent.log_metrics(shown)
        self._parent.set_tags({f"ppi.stage.{name}": result.run_id})
        lines = ["| stage | run | |", "| --- | --- | --- |"]
        lines += [
            f"| {stage} | {self._parent.link_to(run_id, run_id[:8])} | {outcome} |"
            for stage, outcome, run_id in self._rows
        ]
        self._parent.describe("\n".join(lines))
