"""Option groups about earlier runs, stages of a pipeline and registered models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup
from ppi_train.config.options import AMP, DATASET_NAMES, TrackingOptions
from ppi_train.embeddings.options import LM_EPOCHS, LM_HIDDEN_DIM, LM_RATE

MOST_COMPARED = 10
FINETUNE_EPOCHS = 8
FINETUNE_RATE = 8e-3


@dataclass(frozen=True, kw_only=True)
class EvaluatedRunOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    run_id: str | None = option(None, "MLflow run whose best checkpoint is used.", names_runs=True)
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
        names_runs=True,
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
class ResumedRunOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    run_id: str | None = option(None, "Interrupted training run to continue.", names_runs=True)
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


@dataclass(frozen=True, kw_only=True)
class SyncOptions(OptionGroup):
    SECTION: ClassVar[str] = "tracking"

    journal: str | None = option(
        None, "Journal to send, or a folder of runs; unset: the journals of all runs in `runs`."
    )


@dataclass(frozen=True, kw_only=True)
class SyncTrackingOptions(TrackingOptions):
    """Tracking of `sync`, which itself waits for what it sends."""

    tracking_flush_seconds: float = option(
        10.0,
        "Seconds that the end of the command waits for the server to receive its own run.",
        low=0,
        high=bounds.SECONDS,
    )


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(OptionGroup):
    SECTION: ClassVar[str] = "finetune"

    pretrain_run_id: str | None = option(
        None, "MLflow run whose best checkpoint the weights start from.", names_runs=True
    )

    def validate(self) -> list[str]:
        if self.pretrain_run_id:
            return []
        return ["pretrain_run_id: required; give the ID of a finished training run"]


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
class FinetuneStageOptions(OptionGroup):
    SECTION: ClassVar[str] = "finetune"

    finetune_dataset: str | None = option(
        None, "Data set of the finetune stage; unset: no such stage.", choices=DATASET_NAMES
    )
    finetune_train_pairs: str | None = option(None, "Your own training pairs to finetune on.")
    finetune_val_pairs: str | None = option(None, "Your own validation pairs to finetune with.")
    finetune_fasta: str | None = option(None, "Sequences of the proteins in your own finetune pairs.")
    finetune_embeddings: str | None = option(None, "Embedding cache of the finetune proteins.")
    finetune_epochs: int = option(
        FINETUNE_EPOCHS, "Passes over the finetune pairs, at most.", low=1, high=bounds.EPOCHS
    )
    finetune_learning_rate: float = option(
        FINETUNE_RATE, "Peak learning rate of that stage.", above=0, high=bounds.LEARNING_RATE
    )

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
class StageOptions(OptionGroup):
    reuse: bool = option(True, "Take over the finished stages of earlier runs whose inputs are the same.")


@dataclass(frozen=True, kw_only=True)
class LanguageStageOptions(OptionGroup):
    SECTION: ClassVar[str] = "embedder"

    lm_hidden_dim: int = option(
        LM_HIDDEN_DIM, "protein_lm: width of the language model.", low=1, high=bounds.WIDTH
    )
    lm_epochs: int = option(LM_EPOCHS, "protein_lm: passes over the sequences.", low=1, high=bounds.EPOCHS)
    lm_learning_rate: float = option(
        LM_RATE, "protein_lm: peak learning rate.", above=0, high=bounds.LEARNING_RATE
    )
    lm_amp: str = option("off", "protein_lm: mixed precision of its training.", choices=AMP)


@dataclass(frozen=True, kw_only=True)
class RegistryOptions(OptionGroup):
    SECTION: ClassVar[str] = "registry"

    registered_model: str | None = option(None, "Name in the model registry.")
    alias: str = option("champion", "Alias that the best version holds.")

    def missing_name(self) -> list[str]:
        """The problem that no registered model is named."""
        return [] if self.registered_model else ["registered_model: required; a name in the model registry"]


@dataclass(frozen=True, kw_only=True)
class PromotionOptions(OptionGroup):
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
    allow_other_numbers: bool = option(
        False,
        "Compare also on embeddings with other numbers than those of the training, as of other hardware; "
        "the version is tagged.",
    )
