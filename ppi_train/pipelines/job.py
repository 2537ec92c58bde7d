"""What a training run is, whatever it trains: something that can be started, continued and recognised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ppi_train.config.options import Section
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.checkpoint import Checkpoint


class Job(Protocol):
    """A training run before it starts: its config with every default filled in, and its data."""

    @property
    def mode(self) -> str:
        """The run mode."""

    @property
    def config(self) -> Section:
        """Logged as the run's parameters, and in its checkpoints."""

    @property
    def output_dir(self) -> str:
        """Where the run's folder is."""

    @property
    def digests(self) -> Mapping[str, str]:
        """Of all that the result follows from, beside config and code, by name."""

    @property
    def recorded(self) -> Mapping[str, str]:
        """Digests of the data as the run records them, by split; `embeddings` for those of the cache."""

    def run(
        self, tracked: TrackedRun, output: Path, *, continued: Checkpoint | None = None
    ) -> PipelineResult:
        """Trains; see `run_training`.

        Args:
            tracked: The run.
            output: Its folder on this machine, held by this process.
            continued: `last` of an interrupted run of the same job, with its training state.
        """
