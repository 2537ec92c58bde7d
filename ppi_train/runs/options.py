"""Option groups about earlier runs, stages of a pipeline and registered models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup
from ppi_train.config.options import AMP, DATASET_NAMES, TrackingOptions
from ppi_train.embeddings.options import LM_EPOCHS, LM_HIDDEN_DIM, LM_RATE

MOST_COMPARED = 10
NO_MODEL = "run_id: required (or model_uri, or released); give the ID of a finished training run"
FINETUNE_EPOCHS = 8
FINETUNE_RATE = 8e-3


@dataclass(frozen=True, kw_only=True)
class EvaluatedRunOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"
    REQUIRED: ClassVar[bool] = True

    run_id: str | None = option(None, "MLflow run whose best checkpoint is used.", names_runs=True)
    model_uri: str | None = option(
        None, "Registered model in place of run_id: models:/NAME@ALIAS or models:/NAME/VERSION."
    )
    released: str | None = option(None, "Model that the package carries, in place of run_id: human.")

    @property
    def named(self) -> bool:
        """Whether a model is named in any way."""
        return bool(self.run_id or self.model_uri or self.released)

    def validate(self) -> list[str]:
        given = [name for name, value in vars(self).items() if value]
        if len(given) > 1:
            return [f"{' and '.join(given)}: give one of them, not {'both' if len(given) == 2 else 'all'}"]
        if given or not self.REQUIRED:
            return []
        return [NO_MODEL]


@dataclass(frozen=True, kw_only=True)
class OptionalRunOptions(EvaluatedRunOptions):
    """A model that need not be named: without a name it is the released one."""

    REQUIRED: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class ServingOptions(OptionGroup):
    SECTION: ClassVar[str] = "serving"

    host: str = option("127.0.0.1", "Address to listen on; any other than this can be reached from outside.")
    port: int = option(5001, "Port to listen on; 0: a free one.", low=0, high=65535)
    requests_per_minute: int = option(
        120, "Requests of the page that are answered, of all readers together.", low=1, high=bounds.REQUESTS
    )


@dataclass(frozen=True, kw_only=True)
class ComparedRunsOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    run_ids: tuple[str, ...] = option(
        (),
        f"Two to {MOST_COMPARED} MLflow runs whose best checkpoints are compared, with commas between; "
        "one may do beside scores. The first is the reference. The ID of an evaluation stands for the run "
        "that it scored.",
        names_runs=True,
    )
    scores: tuple[str, ...] | None = option(
        None,
        "Tables of scores that other tools gave to the pairs, beside the runs, with commas between.",
        place="file",
    )
    score_names: tuple[str, ...] | None = option(
        None, "Names of these tools, in order; unset: those of the files."
    )
    score_type: str = option(
        "auto",
        "What the scores are; auto: logits in a column logit, else probabilities.",
        choices=("auto", "probability", "logit"),
    )

    @property
    def tools(self) -> tuple[str, ...]:
        """The name of each table of scores."""
        return self.score_names or tuple(Path(path).stem for path in self.scores or ())

    def validate(self) -> list[str]:
        found = []
        twice = sorted({run_id for run_id in self.run_ids if self.run_ids.count(run_id) > 1})
        if twice:
            found.append(f"run_ids: {', '.join(twice)} is given twice")
        elif self.scores and not self.run_ids:
            found.append("run_ids: one or more are required; scores alone are measured by eval_only")
        elif not 2 <= len(self.run_ids) + len(self.scores or ()) <= MOST_COMPARED:
            expected = f"two to {MOST_COMPARED} run IDs with commas between"
            found.append(f"run_ids: expected {expected}; got {len(self.run_ids) or 'none'}")
        tables = len(self.scores or ())
        if self.score_names and len(self.score_names) != tables:
            found.append(f"score_names: expected {tables} names; got {len(self.score_names)}")
        elif len(set(self.tools)) < len(self.tools):
            found.append(f"score_names: two tables have one name, {', '.join(self.tools)}")
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle = sorted({"score_names", "score_type"} & given) if not self.scores else []
        return [f"{name} has no effect: no scores are given" for name in idle]


@dataclass(frozen=True, kw_only=True)
class ResumedRunOptions(OptionGroup):
    SECTION: ClassVar[str] = "run"

    run_id: str | None = option(None, "Interrupted training run to continue.", names_runs=True)
    output_dir: str | None = option(
        None, "Folder of checkpoints; unset, like all below: where the run had it.", place="here"
    )
    data_dir: str | None = option(
        None, "Folder of downloads, prepared data sets and embedding caches.", place="here"
    )
    mirror: str | None = option(None, "Folder or http server with the benchmark files.")
    train_pairs: str | None = option(None, "Where your own training pairs lie now.", place="file")
    val_pairs: str | None = option(None, "Where your own validation pairs lie now.", place="file")
    fasta: str | None = option(None, "Where your own sequences lie now.", place="file")
    embeddings: str | None = option(None, "Where the embedding cache lies now.", place="cache")
    processes: int | str | None = option(
        None, "Processes that train together: any number, or auto.", low=1, high=bounds.PROCESSES
    )

    def validate(self) -> list[str]:
        return [] if self.run_id else ["run_id: required; give the ID of an interrupted training run"]


@dataclass(frozen=True, kw_only=True)
class SyncOptions(OptionGroup):
    SECTION: ClassVar[str] = "tracking"

    journal: str | None = option(
        None, "Journal to send, or a folder of runs; unset: the journals of all runs in `runs`."
    )


@dataclass(frozen=True, kw_only=True)
class CleanOptions(OptionGroup):
    SECTION: ClassVar[str] = "clean"
    KINDS: ClassVar[tuple[str, ...]] = (
        "downloads",
        "embeddings",
        "parts",
        "similarity",
        "runs",
        "checkpoints",
    )

    data_dir: str = option(
        "data", "Folder of downloads, prepared data sets and embedding caches.", place="here"
    )
    output_dir: str = option("runs", "Folder of the folders of runs.", place="here")
    free: tuple[str, ...] | None = option(
        None,
        "Kinds to remove, with commas between; unset: all is listed, and nothing removed.",
        choices=KINDS,
    )
    older_than_days: int | None = option(
        None, "Remove only what has not changed for so long; unset: of any age.", low=0, high=bounds.DAYS
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
    finetune_train_pairs: str | None = option(None, "Your own training pairs to finetune on.", place="file")
    finetune_val_pairs: str | None = option(None, "Your own validation pairs to finetune with.", place="file")
    finetune_fasta: str | None = option(
        None, "Sequences of the proteins in your own finetune pairs.", place="file"
    )
    finetune_embeddings: str | None = option(None, "Embedding cache of the finetune proteins.", place="cache")
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
    lm_amp: str = option(
        "auto", "protein_lm: mixed precision of its training; auto: bf16 if the device has it.", choices=AMP
    )


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
