"""The parameters of every run mode: one declaration each, from which all else is made.

The commands' options, MLproject's parameters, the config file's keys and the parameters that a
run logs come from here. An unset parameter is the empty string in MLproject and `None` here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config.fields import option

DATASET_NAMES = ("example", "bernett", "pring_arath", "pring_yeast", "pring_ecoli", "pring_human")
EMBEDDER_NAMES = ("descriptors",)
MODEL_NAMES = ("pooled_mlp",)
SPLIT_NAMES = ("train", "validation", "test")
SCHEDULERS = ("none", "cosine", "linear", "one_cycle", "plateau")
MONITORED = ("val/auroc", "val/auprc", "val/loss")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A group of parameters; a run logs them as `<SECTION>.<name>`."""

    SECTION: ClassVar[str] = "run"

    def problems(self) -> list[str]:
        """What is wrong between fields that are each right by themselves."""
        return []

    def without_effect(self, given: frozenset[str]) -> list[str]:
        """Warnings about given parameters that change nothing beside the others."""
        del given
        return []


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(Section):
    SECTION: ClassVar[str] = "data"

    dataset: str | None = option(
        None, "Benchmark, or the built-in example (the default).", choices=DATASET_NAMES
    )
    data_dir: str = option("data", "Folder for downloads, prepared data sets and embedding caches.")
    mirror: str | None = option(
        None, "Folder or http server with the benchmark files as <host>/<path>; default $PPI_TRAIN_MIRROR."
    )
    data_seed: int = option(0, "Seed of the negatives and splits that a data set draws.", low=0)


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Section):
    SECTION: ClassVar[str] = "data"

    splits: tuple[str, ...] = option(
        SPLIT_NAMES, "Splits to prepare, with commas between.", choices=SPLIT_NAMES
    )


@dataclass(frozen=True, kw_only=True)
class TrainPairsOptions(Section):
    SECTION: ClassVar[str] = "data"

    train_pairs: str | None = option(
        None, "Your own training pairs (TSV, CSV, Parquet) in place of a dataset."
    )
    val_pairs: str | None = option(None, "Your own validation pairs; goes with train_pairs.")


@dataclass(frozen=True, kw_only=True)
class TestPairsOptions(Section):
    SECTION: ClassVar[str] = "data"

    test_pairs: str | None = option(None, "Your own labelled test pairs in place of a dataset's.")
    split: str = option(
        "auto",
        "Split of the dataset to score; auto is test where the test files can be had, else validation.",
        choices=("auto", *SPLIT_NAMES),
    )


@dataclass(frozen=True, kw_only=True)
class CacheOptions(Section):
    SECTION: ClassVar[str] = "embedding"

    fasta: str | None = option(None, "Sequences of the proteins in your own pairs (FASTA, plain or gzip).")
    embeddings: str | None = option(
        None, "Parquet embedding cache (file or folder); made from the FASTA if unset."
    )
    missing: str = option(
        "error",
        "Pairs whose protein has no embedding: refuse before training starts, or drop and count them.",
        choices=("error", "drop"),
    )


@dataclass(frozen=True, kw_only=True)
class EmbedderOptions(Section):
    SECTION: ClassVar[str] = "embedding"

    embedder: str | None = option(
        None, "What turns a sequence into an embedding (default: descriptors).", choices=EMBEDDER_NAMES
    )
    max_length: int | None = option(None, "Residues embedded of a protein; unset: all.", low=1)
    truncation: str | None = option(
        None,
        "What is kept of a protein over max_length: its head (default), both ends, or it is an error.",
        choices=("head", "head_tail", "error"),
    )
    embedding_dtype: str = option(
        "float32", "Number format in a newly made cache.", choices=("float16", "float32")
    )

    def without_effect(self, given: frozenset[str]) -> list[str]:
        if "truncation" in given and self.max_length is None:
            return [f"truncation={self.truncation} has no effect: max_length is not given"]
        return []


@dataclass(frozen=True, kw_only=True)
class EmbedOutputOptions(Section):
    SECTION: ClassVar[str] = "embedding"

    fasta: str | None = option(None, "Sequences to embed; unset: those of the dataset.")
    output: str | None = option(None, "The cache to write (.parquet); unset: under data_dir.")
    overwrite: bool = option(False, "Replace an output that exists.")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Section):
    SECTION: ClassVar[str] = "model"

    model: str = option("pooled_mlp", "Architecture.", choices=MODEL_NAMES)
    hidden_dim: int = option(192, "Width of the hidden layers.", low=1)
    num_layers: int = option(1, "Hidden layers of the protein encoder.", low=1)
    dropout: float = option(0.3, "Share of activations dropped in training.", low=0, below=1)
    input_dropout: float = option(
        0.3, "Share of embedding dimensions hidden from the model, anew for each batch.", low=0, below=1
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Section):
    SECTION: ClassVar[str] = "training"

    epochs: int = option(8, "Passes over the training pairs, at most.", low=1)
    batch_size: int = option(4096, "Pairs per optimiser step and accumulation step.", low=1)
    learning_rate: float = option(4e-3, "Peak learning rate of AdamW.", above=0)
    weight_decay: float = option(1e-2, "Decoupled weight decay of AdamW.", low=0)
    gradient_clip: float = option(1.0, "Largest gradient norm; 0 does not clip.", low=0)
    accumulation_steps: int = option(1, "Batches whose gradients make one optimiser step.", low=1)
    label_smoothing: float = option(
        0.0, "Labels are moved this far from 0 and 1 towards 1/2, times two.", low=0, below=1
    )
    class_weight: str = option(
        "none",
        "balanced weighs the two classes alike, by their training counts.",
        choices=("none", "balanced"),
    )
    early_stopping_metric: str = option(
        "val/auroc", "Validation metric that picks the best epoch and stops training.", choices=MONITORED
    )
    early_stopping_patience: int = option(3, "Epochs without improvement before stopping; 0: never.", low=0)

    def without_effect(self, given: frozenset[str]) -> list[str]:
        if "early_stopping_patience" in given and self.early_stopping_patience >= self.epochs:
            return [
                f"early_stopping_patience={self.early_stopping_patience} has no effect: epochs={self.epochs}"
            ]
        return []


@dataclass(frozen=True, kw_only=True)
class SchedulerOptions(Section):
    SECTION: ClassVar[str] = "scheduler"

    scheduler: str = option("cosine", "Course of the learning rate over the run.", choices=SCHEDULERS)
    warmup_fraction: float = option(
        0.1, "Share of all steps over which the rate rises to its peak.", low=0, below=1
    )
    min_learning_rate: float = option(0.0, "Where cosine, linear, one_cycle and plateau end.", low=0)
    plateau_factor: float = option(0.5, "plateau: the rate is multiplied by this.", above=0, below=1)
    plateau_patience: int = option(2, "plateau: epochs without gain let pass before that.", low=0)

    def without_effect(self, given: frozenset[str]) -> list[str]:
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
class ComputeOptions(Section):
    SECTION: ClassVar[str] = "compute"

    device: str = option("auto", "auto, cpu, cuda or cuda:N; auto says which it took.")
    amp: str = option("off", "Mixed precision.", choices=("off", "bf16", "fp16"))
    deterministic: bool = option(False, "Only deterministic kernels, also on a GPU, at some cost.")
    seed: int = option(0, "Seed of initial weights, order of the pairs and dropout.", low=0)

    def problems(self) -> list[str]:
        if re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", self.device):
            return []
        return [f"device: expected auto, cpu, cuda or cuda:N; got {self.device!r}"]


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Section):
    SECTION: ClassVar[str] = "run"

    output_dir: str = option("runs", "Folder for checkpoints and figures before they are uploaded.")


@dataclass(frozen=True, kw_only=True)
class EvaluatedRunOptions(Section):
    SECTION: ClassVar[str] = "run"

    run_id: str | None = option(None, "MLflow run whose best checkpoint is used.")
    bootstrap_resamples: int = option(1000, "Resamples behind each 95% interval; 0: no intervals.", low=0)
    batch_size: int = option(8192, "Pairs scored at once.", low=1)

    def problems(self) -> list[str]:
        return [] if self.run_id else ["run_id: required; give the ID of a finished training run"]


@dataclass(frozen=True, kw_only=True)
class PrepareDataConfig(SplitOptions, DatasetOptions):
    """`prepare_data`: fetch and verify a benchmark, or write the built-in example."""


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(EmbedOutputOptions, EmbedderOptions, DatasetOptions):
    """`embed`: FASTA -> Parquet embedding cache."""

    def problems(self) -> list[str]:
        if self.fasta and self.dataset:
            return ["fasta and dataset: give one of them, not both"]
        return []


@dataclass(frozen=True, kw_only=True)
class TrainConfig(
    OutputOptions,
    ComputeOptions,
    SchedulerOptions,
    TrainingOptions,
    ModelOptions,
    EmbedderOptions,
    CacheOptions,
    TrainPairsOptions,
    DatasetOptions,
):
    """`train_only`, alias `pretrain_only`: train, log, checkpoint, evaluate on validation."""

    def problems(self) -> list[str]:
        return [*own_tables_problems(self), *ComputeOptions.problems(self)]

    def without_effect(self, given: frozenset[str]) -> list[str]:
        sections = (EmbedderOptions, TrainingOptions, SchedulerOptions)
        return [warning for one in sections for warning in one.without_effect(self, given)]


@dataclass(frozen=True, kw_only=True)
class EvalConfig(
    EvaluatedRunOptions, OutputOptions, ComputeOptions, CacheOptions, TestPairsOptions, DatasetOptions
):
    """`eval_only`: score a test set with the best checkpoint of a run."""

    def problems(self) -> list[str]:
        found = [*EvaluatedRunOptions.problems(self), *ComputeOptions.problems(self)]
        if self.dataset and self.test_pairs:
            found.append("dataset and test_pairs: give one of them, not both")
        return found


def own_tables_problems(config: TrainConfig) -> list[str]:
    """A data set comes from the catalogue or from the user's own tables, whole, never from both."""
    own = {"train_pairs": config.train_pairs, "val_pairs": config.val_pairs}
    given = [name for name, value in own.items() if value]
    if not given:
        tables = [name for name in ("fasta", "embeddings") if getattr(config, name)]
        return [f"{name}: goes with train_pairs and val_pairs" for name in tables if name == "fasta"]
    found = [f"{name}: required, since {given[0]} is given" for name, value in own.items() if not value]
    if config.dataset:
        found.append(f"dataset and {given[0]}: give one of them, not both")
    if not (config.fasta or config.embeddings):
        found.append(f"fasta or embeddings: one is required, since {given[0]} is given")
    return found


MODES: dict[str, type[Section]] = {
    "main": TrainConfig,
    "prepare_data": PrepareDataConfig,
    "embed": EmbedConfig,
    "train_only": TrainConfig,
    "pretrain_only": TrainConfig,
    "eval_only": EvalConfig,
}
