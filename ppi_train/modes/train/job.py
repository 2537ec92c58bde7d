"""Interface of training runs that can be started and continued."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.options import OptionGroup
from ppi_train.modes.base import PipelineResult
from ppi_train.tracking.run import TrackedRun


class Job(Protocol):
    """A training run before it starts: complete config and data.

    Every default of the config is filled in.
    """

    @property
    def mode(self) -> str:
        """The run mode."""

    @property
    def config(self) -> OptionGroup:
        """The config that the run and its checkpoints record."""

    @property
    def output_dir(self) -> str:
        """The folder that contains the run's folder."""

    @property
    def digests(self) -> Mapping[str, str]:
        """Digests of all inputs except config and code, by name."""

    @property
    def recorded(self) -> Mapping[str, str]:
        """Digests of the data as the run records them, by split.

        The digest of the embedding cache is named `embeddings`.
        """

    def run(
        self, tracked: TrackedRun, output: Path, *, continued: Checkpoint | None = None
    ) -> PipelineResult:
        """Trains, and logs results and checkpoints in the tracked run.

        Args:
            tracked: The run.
            output: Its folder on this machine, locked by this process.
            continued: `last` of an interrupted run of the same job, with its training state.
        """
