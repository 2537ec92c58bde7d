"""The stages of a pipeline as nested runs, or as earlier runs whose inputs were the same."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from ppi_train.config.loading import config_values
from ppi_train.config.options import Section
from ppi_train.pipelines.code_version import code_version
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.pipelines.job import Job
from ppi_train.pipelines.resume import continue_training
from ppi_train.pipelines.run_folder import run_folder, was_here
from ppi_train.tracking.lookup import FoundRun, find_tagged
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

FINGERPRINT = "ppi.fingerprint"
# Where things lie, how often they are saved and in how much memory they are read changes nothing of
# what comes out; what is read counts by its digest.
_PLACES = frozenset(
    {"data_dir", "output_dir", "mirror", "fasta", "embeddings", "checkpoint_every", "cache_memory_mb"}
    | {"tracking_flush_seconds", "offline"}
    | {"train_pairs", "val_pairs", "test_pairs", "exclude_fasta", "exclude_pairs"}
    | {"node_sets", "complexes", "essential", "non_essential"}
)
_NAMED = frozenset({"run_id", "pretrain_run_id"})

C = TypeVar("C", bound=Section)


def fingerprint(mode: str, config: Section, inputs: Mapping[str, object]) -> str:
    """sha256 over what a stage's result follows from: mode, config, digests of its inputs, code."""
    values = {name: one for name, one in config_values(config).items() if name not in _PLACES | _NAMED}
    content = {"mode": mode, "config": values, "inputs": dict(inputs), "code": code_version()}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


class Stages:
    """Runs stages below a parent run and keeps count of them.

    Args:
        parent: The run of the pipeline.
        reuse: Whether finished stages of earlier runs are taken over.
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
        """Runs a stage, unless an earlier one with the same inputs has finished."""
        key = fingerprint(mode, config, inputs or {})
        found = self._earlier(key)
        if found and found.status == "FINISHED":
            self._take_over(name, found)
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

    def train(self, name: str, job: Job) -> str:
        """Trains, or goes on with an interrupted training of the same job; returns the run's ID."""
        key = fingerprint(job.mode, job.config, job.digests)
        found = self._earlier(key)
        if found and found.status == "FINISHED":
            self._take_over(name, found)
        elif found and self._can_continue(found, job):
            logger.info("stage %s: going on with %s", name, found)
            self._note(name, "continued", continue_training(found.run_id, job))
        else:
            logger.info("stage %s", name)
            with (
                self._parent.child(job.mode) as tracked,
                run_folder(job.output_dir, tracked.run_id) as output,
            ):
                tracked.set_tags({FINGERPRINT: key})
                self._note(name, "done", job.run(tracked, output))
        return self.run_ids[name]

    def _earlier(self, key: str) -> FoundRun | None:
        return find_tagged(self._parent.experiment_id, FINGERPRINT, key) if self._reuse else None

    def _can_continue(self, found: FoundRun, job: Job) -> bool:
        """Whether it was interrupted, and its process, which may have left it RUNNING, ran here."""
        here = was_here(job.output_dir, found.run_id)
        return here if found.running else found.checkpoints is not None or here

    def _take_over(self, name: str, found: FoundRun) -> None:
        logger.info("stage %s: taken over from %s, whose inputs are the same", name, found)
        self._note(name, "taken over", PipelineResult(run_id=found.run_id, metrics=found.metrics))

    def _note(self, name: str, how: str, result: PipelineResult) -> None:
        """The parent shows each stage and its headline figures."""
        self._rows.append((name, how, result.run_id))
        self.run_ids[name] = result.run_id
        shown = {
            key: one for key, one in result.metrics.items() if key.startswith(("val/", "test/", "promotion/"))
        }
        self.metrics |= shown
        if shown:
            self._parent.log_metrics(shown)
        self._parent.set_tags({f"ppi.stage.{name}": result.run_id})
        lines = ["| stage | run | |", "| --- | --- | --- |"]
        lines += [f"| {one} | {self._parent.link_to(run, run[:8])} | {how} |" for one, how, run in self._rows]
        self._parent.describe("\n".join(lines))
