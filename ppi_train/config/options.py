"""Groups of parameters, each parameter declared once.

`schema.py` combines the groups into the config of each run mode. An unset parameter is the empty string in
MLproject and `None` here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config.fields import option
from ppi_train.config.interval import parse_interval

DATASET_NAMES = ("example", "bernett", "pring_arath", "pring_yeast", "pring_ecoli", "pring_human")
MODEL_NAMES = ("pooled_mlp", "v3", "pair_transformer", "contact_map")
SPLIT_NAMES = ("train", "validation", "test")
AMP = ("off", "bf16", "fp16")
SCHEDULERS = ("none", "cosine", "linear", "one_cycle", "plateau")
MONITORED = ("val/auroc", "val/auprc", "val/loss")
MOST_COMPARED = 10
FINETUNE_EPOCHS = 8
FINETUNE_RATE = 8e-3


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """A group of parameters; a run logs them as `<SECTION>.<name>`."""

    SECTION: ClassVar[str] = "run"

    def problems(self) -> list[str]:
        """Contradictions between fields that are each valid by themselves."""
        found = [check(self) for check in self._of_each_group("validate")]
        return list(dict.fromkeys(problem for problems in found for problem in problems))

    def without_effect(self, given: frozenset[str]) -> list[str]:
        """Warnings about given parameters that have no effect."""
        found = [check(self, given) for check in self._of_each_group("unused_options")]
        return [warning for warnings in found for warning in warnings]

    def _of_each_group(self, name: str) -> list[Callable[..., list[str]]]:
        """The functions of this name that the groups of this config define."""
        return [vars(group)[name] for group in reversed(type(self).__mro__) if name in vars(group)]


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(OptionGroup):
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
class SplitOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    splits: tuple[str, ...] = option(
        SPLIT_NAMES, "Splits to prepare, with commas between.", choices=SPLIT_NAMES
    )


@dataclass(frozen=True, kw_only=True)
class TrainPairsOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    train_pairs: str | None = option(
        None, "Your own training pairs (TSV, CSV, Parquet) in place of a dataset."
    )
    val_pairs: str | None = option(None, "Your own validation pairs; goes with train_pairs.")


@dataclass(frozen=True, kw_only=True)
class TestPairsOptions(OptionGroup):
    SECTION: ClassVar[str] = "data"

    test_pairs: str | None = option(None, "Your own labelled test pairs in place of a dataset's.")
    split: str = option(
        "auto",
        "Split of the dataset to score; auto is test if the test files are available, else validation.",
        choices=("auto", *SPLIT_NAMES),
    )


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OptionGroup):
    SECTION: ClassVar[str] = "model"

    model: str = option(
        "pooled_mlp", "Architecture; it has its own defaults for what follows.", choices=MODEL_NAMES
    )
    hidden_dim: int | None = option(None, "Width of a protein's state, of each member.", low=1)
    head_dim: int | None = option(None, "Width of the layer that scores a pair, of each member.", low=1)
    num_layers: int | None = option(None, "Hidden layers of the protein encoder.", low=1)
    dropout: float | None = option(None, "Share of activations dropped in training.", low=0, below=1)
    input_dropout: float | None = option(
        None, "Share of embedding dimensions hidden from a member, redrawn for each batch.", low=0, below=1
    )
    members: int | None = option(
        None, "Networks side by side whose mean is the score, and whose spread its uncertainty.", low=1
    )
    slots: int | None = option(None, "v3: learned summaries of a protein's residues, of each member.", low=1)
    heads: int | None = option(None, "Heads of attention; they divide hidden_dim.", low=1)
    random_features: int | None = option(
        None, "Random features of the Gaussian process that gives a score its uncertainty.", low=1
    )
    sparsity: float | None = option(
        None, "Share of the loss that keeps a contact map sparse.", low=0, below=1
    )
    max_residues: int | None = option(
        None, "Residues of a longer protein that a model of all pairs of residues looks at.", low=2
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OptionGroup):
    SECTION: ClassVar[str] = "training"

    epochs: int = option(8, "Passes over the training pairs, at most.", low=1)
    learning_rate: float = option(3e-3, "Peak learning rate of AdamW.", above=0)
    weight_decay: float = option(1e-2, "Decoupled weight decay of AdamW.", low=0)
    adam_beta2: float = option(
        0.999, "How long AdamW remembers squared gradients: nearly 1 is long.", low=0, below=1
    )
    gradient_clip: float = option(1.0, "Largest gradient norm; 0 does not clip.", low=0)
    accumulation_steps: int = option(1, "Batches whose gradients make one optimiser step.", low=1)
    early_stopping_metric: str = option(
        "val/auroc", "Validation metric that picks the best epoch and stops training.", choices=MONITORED
    )
    early_stopping_patience: int = option(3, "Epochs without improvement before stopping; 0: never.", low=0)
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
        None, "Pairs per optimiser step and accumulation step; unset: the model's own.", low=1
    )
    sampling: str = option(
        "shared",
        "Batches of pairs over few proteins, so that each is encoded less often (shared), or at random "
        "(uniform); shared batches have about batch_size pairs.",
        choices=("shared", "uniform"),
    )
    fresh_negatives: bool = option(
        False,
        "Pair the training negatives' proteins again for each epoch; not where negatives were measured.",
    )


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
    min_learning_rate: float = option(0.0, "Where cosine, linear, one_cycle and plateau end.", low=0)
    plateau_factor: float = option(0.5, "plateau: the rate is multiplied by this.", above=0, below=1)
    plateau_patience: int = option(2, "plateau: epochs without improvement before that.", low=0)

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

    amp: str = option("off", "Mixed precision.", choices=AMP)
    deterministic: bool = option(False, "Only deterministic kernels, also on a GPU, at some cost.")
    seed: int = option(0, "Seed of initial weights, order of the pairs and dropout.", low=0)


@dataclass(frozen=True, kw_only=True)
class OutputOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    output_dir: str = option("runs", "Folder for checkpoints and figures before they are uploaded.")


@dataclass(frozen=True, kw_only=True)
class TrackingOptions(OptionGroup):
    SECTION: ClassVar[str] = "tracking"

    tracking_flush_seconds: float = option(
        60.0, "Seconds that the end of a run waits for the tracking server to receive the rest.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class OfflineOptions(OptionGroup):
    SECTION: ClassVar[str] = "tracking"

    offline: bool = option(
        False, "Contact no tracking server: all is kept in the run's journal, which `sync` sends later."
    )


@dataclass(frozen=True, kw_only=True)
class SyncOptions(OptionGroup):
    SECTION: ClassVar[str] = "tracking"

    journal: str | None = option(
        None, "Journal to send, or a folder of runs; unset: the journals of all runs in `runs`."
    )


@dataclass(frozen=True, kw_only=True)
class EvaluatedRunOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    run_id: str | None = option(None, "MLflow run whose best checkpoint is used.")
    model_uri: str | None = option(
        None, "Registered model in place of run_id: models:/NAME@ALIAS or models:/NAME/VERSION."
    )

    def validate(self) -> list[str]:
        if self.run_id and self.model_uri:
            return ["run_id and model_uri: give one of them, not both"]
        if self.run_id or self.model_uri:
            return []
        return ["run_id: required (or model_uri); give the ID of a finished training run"]


@dataclass(frozen=True, kw_only=True)
class ComparedRunsOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    run_ids: tuple[str, ...] = option(
        (),
        f"Two to {MOST_COMPARED} MLflow runs whose best checkpoints are compared, with commas between; "
        "the first is the reference. The ID of an evaluation stands for the run that it scored.",
    )

    def validate(self) -> list[str]:
        twice = sorted({run_id for run_id in self.run_ids if self.run_ids.count(run_id) > 1})
        if twice:
            return [f"run_ids: {', '.join(twice)} is given twice"]
        if 2 <= len(self.run_ids) <= MOST_COMPARED:
            return []
        expected = f"two to {MOST_COMPARED} run IDs with commas between"
        return [f"run_ids: expected {expected}; got {len(self.run_ids) or 'none'}"]


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(OptionGroup):
    SECTION: ClassVar[str] = "evaluation"

    bootstrap_resamples: int = option(1000, "Resamples behind each 95% interval; 0: no intervals.", low=0)


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(OptionGroup):
    SECTION: ClassVar[str] = "evaluation"

    batch_size: int = option(8192, "Pairs scored at once.", low=1)


@dataclass(frozen=True, kw_only=True)
class WarmStartOptions(OptionGroup):
    SECTION: ClassVar[str] = "finetune"

    freeze: str = option("none", "Weights that finetuning leaves as they are.", choices=("none", "encoder"))
    shrink: float = option(
        0.4,
        "Factor on the ancestor's weight matrices before the first step; 1 leaves them as they are.",
        above=0,
        high=1,
    )

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if "shrink" in given and self.freeze == "encoder":
            return [f"shrink={self.shrink} has no effect: freeze={self.freeze}"]
        return []


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(OptionGroup):
    SECTION: ClassVar[str] = "finetune"

    pretrain_run_id: str | None = option(None, "MLflow run whose best checkpoint the weights start from.")

    def validate(self) -> list[str]:
        if self.pretrain_run_id:
            return []
        return ["pretrain_run_id: required; give the ID of a finished training run"]


@dataclass(frozen=True, kw_only=True)
class FinetuneStageOptions(OptionGroup):
    SECTION: ClassVar[str] = "finetune"

    finetune_dataset: str | None = option(
        None, "Data set of the finetune stage; unset: no such stage.", choices=DATASET_NAMES
    )
    finetune_train_pairs: str | None = option(None, "Your own training pairs to finetune on.")
    finetune_val_pairs: str | None = option(None, "Your own validation pairs to finetune with.")
    finetune_fasta: str | None = option(None, "Sequences of the proteins in your own finetune pairs.")
    finetune_embeddings: str | None = option(None, "Embedding cache of the finetune proteins.")
    finetune_epochs: int = option(FINETUNE_EPOCHS, "Passes over the finetune pairs, at most.", low=1)
    finetune_learning_rate: float = option(FINETUNE_RATE, "Peak learning rate of that stage.", above=0)

    @property
    def finetunes(self) -> bool:
        """Whether a data set to finetune on is given."""
        return bool(self.finetune_dataset or self.finetune_train_pairs)

    def validate(self) -> list[str]:
        if self.finetune_dataset and self.finetune_train_pairs:
            return ["finetune_dataset and finetune_train_pairs: give one of them, not both"]
        if bool(self.finetune_train_pairs) != bool(self.finetune_val_pairs):
            return ["finetune_train_pairs and finetune_val_pairs: give both or none"]
        if self.finetune_train_pairs and not (self.finetune_fasta or self.finetune_embeddings):
            return ["finetune_fasta or finetune_embeddings: one is required with finetune_train_pairs"]
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle = sorted(name for name in given if name.startswith("finetune_") or name in ("freeze", "shrink"))
        if self.finetunes:
            return []
        return [f"{name} has no effect: no finetune set is named" for name in idle]


@dataclass(frozen=True, kw_only=True)
class RegistryOptions(OptionGroup):
    SECTION: ClassVar[str] = "registry"

    registered_model: str | None = option(None, "Name in the model registry.")
    alias: str = option("champion", "Alias that the best version holds.")


@dataclass(frozen=True, kw_only=True)
class PromotionOptions(RegistryOptions):
    SECTION: ClassVar[str] = "registry"

    min_improvement: float = option(
        0.0, "The lower bound of the gain in AUPRC over the holder must be above this.", low=0, below=1
    )
    min_auprc: float = option(
        0.0, "AUPRC that every model must reach, including the first of a name.", low=0, high=1
    )
    allow_leakage: bool = option(
        False, "Compare also on test pairs that the candidate was trained on; the version is tagged."
    )


@dataclass(frozen=True, kw_only=True)
class ResumedRunOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    run_id: str | None = option(None, "Interrupted training run to continue.")
    output_dir: str | None = option(
        None, "Folder of checkpoints; unset, like all below: where the run had it."
    )
    data_dir: str | None = option(None, "Folder of downloads, prepared data sets and embedding caches.")
    mirror: str | None = option(None, "Folder or http server with the benchmark files.")
    train_pairs: str | None = option(None, "Where your own training pairs lie now.")
    val_pairs: str | None = option(None, "Where your own validation pairs lie now.")
    fasta: str | None = option(None, "Where your own sequences lie now.")
    embeddings: str | None = option(None, "Where the embedding cache lies now.")

    def validate(self) -> list[str]:
        return [] if self.run_id else ["run_id: required; give the ID of an interrupted training run"]
