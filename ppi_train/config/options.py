"""Option groups that several modes and packages share: data, training, device, tracking."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option, parse_interval
from ppi_train.config.groups import OptionGroup

DATASET_NAMES = ("example", "bernett", "pring_arath", "pring_yeast", "pring_ecoli", "pring_human", "human")
SPLIT_NAMES = ("train", "validation", "test")
AMP = ("auto", "off", "bf16", "fp16")
AMP_HELP = "Mixed precision; auto: bf16 if the device has it and the model gains by it."
SCHEDULERS = ("none", "cosine", "linear", "one_cycle", "plateau")
RELEASED_PREFIX = "released:"
"""Begins what names a released model in place of a run ID: `released:human`."""
MONITORED = ("val/auroc", "val/auprc", "val/auprc_1to100", "val/loss")


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    dataset: str | None = option(
        None, "Benchmark, or the built-in example (the default).", choices=DATASET_NAMES
    )
    data_dir: str = option(
        "data", "Folder for downloads, prepared data sets and embedding caches.", place="here"
    )
    mirror: str | None = option(
        None, "Folder or http server with the benchmark files as <host>/<path>; default $PPI_TRAIN_MIRROR."
    )
    data_seed: int = option(
        0, "Seed of the negatives and splits that a data set draws.", low=0, high=bounds.SEED
    )


@dataclass(frozen=True, kw_only=True)
class SplitOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    splits: tuple[str, ...] | None = option(
        None,
        "Splits to prepare, with commas between; unset: all whose files are available.",
        choices=SPLIT_NAMES,
    )


@dataclass(frozen=True, kw_only=True)
class TrainPairsOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    train_pairs: str | None = option(
        None, "Your own training pairs (TSV, CSV, Parquet) in place of a dataset.", place="file"
    )
    val_pairs: str | None = option(None, "Your own validation pairs; goes with train_pairs.", place="file")


@dataclass(frozen=True, kw_only=True)
class TestPairsOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    test_pairs: str | None = option(
        None, "Your own labelled test pairs in place of a dataset's.", place="file"
    )
    split: str = option(
        "auto",
        "Split of the dataset to score; auto is test if the test files are available, else validation.",
        choices=("auto", *SPLIT_NAMES),
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OptionGroup):
    SECTION: ClassVar[str] = "training"

    epochs: int = option(8, "Passes over the training pairs, at most.", low=1, high=bounds.EPOCHS)
    learning_rate: float = option(3e-3, "Peak learning rate of AdamW.", above=0, high=bounds.LEARNING_RATE)
    weight_decay: float = option(1e-2, "Decoupled weight decay of AdamW.", low=0, high=bounds.WEIGHT_DECAY)
    adam_beta2: float = option(
        0.999, "How long AdamW remembers squared gradients: nearly 1 is long.", low=0, below=1
    )
    gradient_clip: float = option(
        1.0, "Largest gradient norm; 0 does not clip.", low=0, high=bounds.GRADIENT_NORM
    )
    accumulation_steps: int | None = option(
        None,
        "Batches whose gradients make one optimiser step; unset: one for each process, and batch_size is "
        "divided by their number.",
        low=1,
        high=bounds.ACCUMULATION_STEPS,
    )
    early_stopping_metric: str = option(
        "val/auroc", "Validation metric that picks the best epoch and stops training.", choices=MONITORED
    )
    early_stopping_patience: int = option(
        3, "Epochs without improvement before stopping; 0: never.", low=0, high=bounds.PATIENCE
    )
    checkpoint_every: str = option(
        "5 minutes", "How often the state that `resume` continues from is uploaded: `N steps` or `N minutes`."
    )

    def validate(self) -> list[str]:
        try:
            parse_interval(self.checkpoint_every)
        except ValueError as error:
            return [f"checkpoint_every: {error}"]
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "early_stopping_patience" in given and self.early_stopping_patience >= self.epochs:
            return [
                f"early_stopping_patience={self.early_stopping_patience} has no effect: epochs={self.epochs}"
            ]
        return []


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(OptionGroup):
    SECTION: ClassVar[str] = "training"

    batch_size: int | None = option(
        None,
        "Pairs per optimiser step and accumulation step; unset: the model's own.",
        low=1,
        high=bounds.BATCH_SIZE,
    )
    sampling: str = option(
        "shared",
        "Batches of pairs over few proteins, so that each is encoded less often (shared), or at random "
        "(uniform); shared batches have about batch_size pairs.",
        choices=("shared", "uniform"),
    )
    batch_order: str = option(
        "proteins",
        "What shared batches are drawn from: single proteins, or blocks of 16 neighbours in the embedding "
        "cache, which are read at once; for residue caches in an object store.",
        choices=("proteins", "blocks"),
    )
    fresh_negatives: bool = option(
        False,
        "Pair the training negatives' proteins again for each epoch; not where negatives were measured.",
    )

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "batch_order" in given and self.sampling != "shared":
            return [f"batch_order={self.batch_order} has no effect: sampling={self.sampling}"]
        return []


@dataclass(frozen=True, kw_only=True)
class PairLossOptions(OptionGroup):
    SECTION: ClassVar[str] = "training"

    label_smoothing: float = option(
        0.0, "Labels are moved by half of this from 0 and 1 towards 1/2.", low=0, below=1
    )
    class_weight: str = option(
        "none",
        "balanced gives both classes the same total weight, by their training counts.",
        choices=("none", "balanced"),
    )


@dataclass(frozen=True, kw_only=True)
class SchedulerOptions(OptionGroup):
    SECTION: ClassVar[str] = "scheduler"

    scheduler: str = option("cosine", "Course of the learning rate over the run.", choices=SCHEDULERS)
    warmup_fraction: float = option(
        0.1, "Share of all steps over which the rate rises to its peak.", low=0, below=1
    )
    min_learning_rate: float = option(
        0.0, "Where cosine, linear, one_cycle and plateau end.", low=0, high=bounds.LEARNING_RATE
    )
    plateau_factor: float = option(0.5, "plateau: the rate is multiplied by this.", above=0, below=1)
    plateau_patience: int = option(
        2, "plateau: epochs without improvement before that.", low=0, high=bounds.PATIENCE
    )

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle: list[str] = []
        if self.scheduler == "none":
            idle = ["warmup_fraction", "min_learning_rate", "plateau_factor", "plateau_patience"]
        elif self.scheduler != "plateau":
            idle = ["plateau_factor", "plateau_patience"]
        return [
            f"{name}={getattr(self, name)} has no effect: scheduler={self.scheduler}"
            for name in idle
            if name in given
        ]


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(OptionGroup):
    SECTION: ClassVar[str] = "compute"

    device: str = option("auto", "auto, cpu, cuda or cuda:N; auto says which it took.")

    def validate(self) -> list[str]:
        if re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", self.device):
            return []
        return [f"device: expected auto, cpu, cuda or cuda:N; got {self.device!r}"]


@dataclass(frozen=True, kw_only=True)
class ComputeOptions(DeviceOptions):
    SECTION: ClassVar[str] = "compute"

    amp: str = option("auto", AMP_HELP, choices=AMP)
    deterministic: bool = option(False, "Only deterministic kernels, also on a GPU, at some cost.")
    seed: int = option(0, "Seed of initial weights, order of the pairs and dropout.", low=0, high=bounds.SEED)


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(OptionGroup):
    SECTION: ClassVar[str] = "compute"

    processes: int | str = option(
        1,
        "Processes that train together; auto: one for each GPU. Under torchrun: those that it has started.",
        low=1,
        high=bounds.PROCESSES,
    )

    def validate(self) -> list[str]:
        started = started_processes()
        if started > 1 and self.processes not in (1, "auto", started):
            return [f"processes: {self.processes}, but the launcher has started {started} (WORLD_SIZE)"]
        return []

    @property
    def known(self) -> int | None:
        """The number of processes; None if it is that of the GPUs."""
        started = started_processes()
        if started > 1:
            return started
        return self.processes if isinstance(self.processes, int) else None


def started_processes() -> int:
    """How many processes a launcher such as torchrun has started for this job; 1 without one."""
    text = os.environ.get("WORLD_SIZE", "").strip()
    return int(text) if text.isdecimal() and int(text) else 1


@dataclass(frozen=True, kw_only=True)
class OutputOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    output_dir: str = option(
        "runs", "Folder for checkpoints and figures before they are uploaded.", place="here"
    )


@dataclass(frozen=True, kw_only=True)
class TrackingOptions(OptionGroup):
    SECTION: ClassVar[str] = "tracking"

    tracking_flush_seconds: float = option(
        60.0,
        "Seconds that the end of a run waits for the tracking server to receive the rest.",
        low=0,
        high=bounds.SECONDS,
    )


@dataclass(frozen=True, kw_only=True)
class OfflineTrackingOptions(TrackingOptions):
    offline: bool = option(
        False, "Contact no tracking server: all is kept in the run's journal, which `sync` sends later."
    )
