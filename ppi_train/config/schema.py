"""The config of every run mode, combined from groups of parameters.

The commands' options, MLproject's parameters, the config file's keys and the parameters that a
run logs come from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import benchmark_options as bench
from ppi_train.config import embedding_options as emb
from ppi_train.config import evaluation_options as ev
from ppi_train.config import explanation_options as exp
from ppi_train.config import options as of
from ppi_train.config import prediction_options as pred
from ppi_train.config.fields import option
from ppi_train.config.options import OptionGroup


@dataclass(frozen=True, kw_only=True)
class PrepareDataConfig(of.OfflineOptions, of.TrackingOptions, of.SplitOptions, of.DatasetOptions):
    """`prepare_data`: fetch and verify a benchmark, or write the built-in example."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig(of.OfflineOptions, of.TrackingOptions, bench.NewSplitOptions):
    """`split`: split a network into train, validation and test; draw negatives; audit."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig(
    of.OfflineOptions, of.TrackingOptions, of.OutputOptions, bench.AuditedPairsOptions, of.DatasetOptions
):
    """`audit`: measure the overlap of test and training set, and its effect."""


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(
    of.OfflineOptions,
    of.TrackingOptions,
    emb.EmbedOutputOptions,
    of.DeviceOptions,
    emb.EmbedderOptions,
    of.DatasetOptions,
):
    """`embed`: FASTA -> Parquet embedding cache."""

    def validate(self) -> list[str]:
        if self.fasta and self.dataset:
            return ["fasta and dataset: give one of them, not both"]
        return []


@dataclass(frozen=True, kw_only=True)
class ImportConfig(of.OfflineOptions, of.TrackingOptions, emb.ImportOptions):
    """`import_embeddings`: embeddings made elsewhere -> Parquet embedding cache."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig(
    of.TrackingOptions, of.OutputOptions, of.ComputeOptions, of.SchedulerOptions, of.TrainingOptions
):
    """Parameters of every training run: hyperparameters, device and output."""


@dataclass(frozen=True, kw_only=True)
class PairLoopConfig(of.SamplingOptions, of.PairLossOptions, LoopConfig):
    """Parameters of every training of a pair model."""


@dataclass(frozen=True, kw_only=True)
class TrainEmbedderConfig(
    of.OfflineOptions,
    emb.LanguageBatchOptions,
    emb.LanguageModelOptions,
    LoopConfig,
    emb.LanguageTextOptions,
    of.DatasetOptions,
):
    """`train_embedder`: train the language model behind the embedder `protein_lm` on sequences."""

    epochs: int = option(emb.LM_EPOCHS, "Passes over the sequences.", low=1)
    learning_rate: float = option(emb.LM_RATE, "Peak learning rate of AdamW.", above=0)
    adam_beta2: float = option(
        0.98, "How long AdamW remembers squared gradients: nearly 1 is long.", low=0, below=1
    )
    scheduler: str = option("linear", "Course of the learning rate over the run.", choices=of.SCHEDULERS)
    early_stopping_metric: str = option(
        "val/loss", "Validation metric that picks the best weights.", choices=("val/loss",)
    )
    early_stopping_patience: int = option(
        0, "Fifths of a pass without improvement before stopping; 0: never.", low=0
    )

    def validate(self) -> list[str]:
        if self.fasta and self.dataset:
            return ["fasta and dataset: give one of them, not both"]
        return []


@dataclass(frozen=True, kw_only=True)
class TrainDataConfig(emb.CacheOptions, of.TrainPairsOptions, of.DatasetOptions):
    """Training data: a data set of the catalogue, or own tables."""

    def validate(self) -> list[str]:
        own = {"train_pairs": self.train_pairs, "val_pairs": self.val_pairs}
        given = [name for name, value in own.items() if value]
        if not given:
            return ["fasta: goes with train_pairs and val_pairs"] if self.fasta else []
        found = [f"{name}: required, since {given[0]} is given" for name, value in own.items() if not value]
        if self.dataset:
            found.append(f"dataset and {given[0]}: give one of them, not both")
        if not (self.fasta or self.embeddings):
            found.append(f"fasta or embeddings: one is required, since {given[0]} is given")
        return found


@dataclass(frozen=True, kw_only=True)
class TrainConfig(of.OfflineOptions, PairLoopConfig, of.ModelOptions, emb.EmbedderOptions, TrainDataConfig):
    """`train_only`, alias `pretrain_only`: train, log, checkpoint, evaluate on validation."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(of.WarmStartOptions, of.PretrainOptions, PairLoopConfig, TrainDataConfig):
    """`finetune_from_pretrain`: continue training from the weights of an earlier run."""

    epochs: int = option(of.FINETUNE_EPOCHS, "Passes over the training pairs, at most.", low=1)
    learning_rate: float = option(of.FINETUNE_RATE, "Peak learning rate of AdamW.", above=0)


@dataclass(frozen=True, kw_only=True)
class ResumeConfig(of.ResumedRunOptions):
    """`resume`: continue an interrupted training run, exactly, in the same MLflow run."""


@dataclass(frozen=True, kw_only=True)
class SyncConfig(of.SyncOptions, of.TrackingOptions):
    """`sync`: send the journals of runs that the tracking server lacks."""

    tracking_flush_seconds: float = option(
        10.0, "Seconds that the end of the command waits for the server to receive its own run.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class TestDataConfig(emb.CacheOptions, of.TestPairsOptions, of.DatasetOptions):
    """Test data of every evaluation."""

    def validate(self) -> list[str]:
        if self.dataset and self.test_pairs:
            return ["dataset and test_pairs: give one of them, not both"]
        return []


@dataclass(frozen=True, kw_only=True)
class ScoringConfig(
    of.EvaluatedRunOptions,
    of.ScoringOptions,
    of.MeasureOptions,
    of.OutputOptions,
    of.ComputeOptions,
    TestDataConfig,
    of.TrackingOptions,
):
    """Parameters of scoring labelled pairs with a trained model."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig(ev.NetworkOptions, ev.LeakageOptions, ScoringConfig):
    """`eval_only`: score a test set with a run's best checkpoint or registered model."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig(
    of.ComparedRunsOptions,
    of.ScoringOptions,
    of.MeasureOptions,
    of.OutputOptions,
    of.ComputeOptions,
    TestDataConfig,
):
    """`compare`: evaluate runs on the same test pairs, with paired differences."""

    bootstrap_resamples: int = option(1000, "Resamples behind each 95% interval.", low=100)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(
    of.TrackingOptions,
    pred.PredictionOptions,
    of.EvaluatedRunOptions,
    of.DeviceOptions,
    emb.CacheOptions,
    of.DatasetOptions,
):
    """`predict`: score pairs, or all pairs of proteins, with the best checkpoint."""

    def validate(self) -> list[str]:
        if self.fasta and self.dataset:
            return ["fasta and dataset: give one of them, not both"]
        if self.proteins_a or self.proteins_b or self.fasta or self.dataset or self.embeddings:
            return []
        return ["fasta: required (or embeddings, or dataset); the proteins' sequences or embeddings"]


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(
    exp.ExplanationOptions,
    of.EvaluatedRunOptions,
    of.OutputOptions,
    of.DeviceOptions,
    emb.CacheOptions,
    of.DatasetOptions,
    of.TrackingOptions,
):
    """`explain`: find the residues of two proteins that determine their score."""

    def validate(self) -> list[str]:
        if self.fasta and self.dataset:
            return ["fasta and dataset: give one of them, not both"]
        if self.fasta or self.dataset or self.embeddings:
            return []
        return ["fasta: required (or embeddings, or dataset); the proteins' sequences or embeddings"]


@dataclass(frozen=True, kw_only=True)
class PromoteConfig(of.PromotionOptions, ScoringConfig):
    """`promote`: register a model; move the alias if it is better."""

    bootstrap_resamples: int = option(1000, "Resamples behind the 95% interval of the gain.", low=100)

    def validate(self) -> list[str]:
        return [] if self.registered_model else ["registered_model: required; a name in the model registry"]


@dataclass(frozen=True, kw_only=True)
class RollbackConfig(of.RegistryOptions):
    """`rollback`: give the alias back to the version that held it before."""

    def validate(self) -> list[str]:
        return [] if self.registered_model else ["registered_model: required; a name in the model registry"]


@dataclass(frozen=True, kw_only=True)
class PipelineConfig(
    of.PromotionOptions,
    ev.NetworkOptions,
    ev.LeakageOptions,
    of.MeasureOptions,
    of.TestPairsOptions,
    of.FinetuneStageOptions,
    of.WarmStartOptions,
    emb.LanguageStageOptions,
    TrainConfig,
):
    """`full_pipeline`, also `main`: prepare, embed, pretrain, finetune, evaluate, promote."""

    SECTION: ClassVar[str] = "run"
    TRAINS_EMBEDDER: ClassVar[bool] = True

    reuse: bool = option(True, "Take over the finished stages of earlier runs whose inputs are the same.")

    @property
    def trains_embedder(self) -> bool:
        """Whether a language model is trained first."""
        return self.embedder == "protein_lm" and not (self.embedder_run_id or self.embeddings)

    def validate(self) -> list[str]:
        if self.offline:
            return ["offline: the stages find one another at the tracking server; run train_only offline"]
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle = ("alias", "min_improvement", "min_auprc", "allow_leakage")
        if self.registered_model:
            return []
        return [f"{name} has no effect: no registered_model is named" for name in idle if name in given]


MODES: dict[str, type[OptionGroup]] = {
    "full_pipeline": PipelineConfig,
    "prepare_data": PrepareDataConfig,
    "split": SplitConfig,
    "audit": AuditConfig,
    "train_embedder": TrainEmbedderConfig,
    "embed": EmbedConfig,
    "import_embeddings": ImportConfig,
    "train_only": TrainConfig,
    "finetune_from_pretrain": FinetuneConfig,
    "resume": ResumeConfig,
    "sync": SyncConfig,
    "eval_only": EvalConfig,
    "compare": CompareConfig,
    "predict": PredictConfig,
    "explain": ExplainConfig,
    "promote": PromoteConfig,
    "rollback": RollbackConfig,
}
