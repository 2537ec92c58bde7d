"""The config of every run mode, composed of option groups.

The commands' options, the config file's keys and the parameters that a run logs come from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ppi_train.config.groups import ModeConfig
from ppi_train.config.options import (
    ComputeOptions,
    DatasetOptions,
    DeviceOptions,
    OfflineTrackingOptions,
    OutputOptions,
    PairLossOptions,
    ProcessOptions,
    SamplingOptions,
    SchedulerOptions,
    SplitOptions,
    TestPairsOptions,
    TrackingOptions,
    TrainingOptions,
    TrainPairsOptions,
)
from ppi_train.data.options import NetworkDivisionOptions, NewSplitOptions, SourceNetworkOptions
from ppi_train.embeddings.options import (
    CacheOptions,
    CacheSourceOptions,
    EmbedderOptions,
    EmbedOutputOptions,
    ExcludeOptions,
    FurtherTextOptions,
    ImportOptions,
    LanguageComputeOptions,
    LanguageModelOptions,
    LanguageTextOptions,
    LanguageTrainingOptions,
)
from ppi_train.evaluation.options import (
    AuditedPairsOptions,
    GivenScoresOptions,
    InputStatisticsOptions,
    LeakageOptions,
    MeasureOptions,
    NetworkOptions,
    PairedMeasureOptions,
    ScoringOptions,
)
from ppi_train.inference.options import ExplanationOptions, PredictionOptions
from ppi_train.models.choice import ModelChoice, models_by_hyperparameter
from ppi_train.parallel.options import ParallelOptions
from ppi_train.runs.options import (
    FINETUNE_EPOCHS,
    FINETUNE_RATE,
    NO_MODEL,
    CleanOptions,
    ComparedRunsOptions,
    EvaluatedRunOptions,
    FinetuneStageOptions,
    LanguageStageOptions,
    OptionalRunOptions,
    PretrainOptions,
    PromotionOptions,
    RegistryOptions,
    ResumedRunOptions,
    ServingOptions,
    StageOptions,
    SyncOptions,
    SyncTrackingOptions,
    WarmStartOptions,
)
from ppi_train.runs.sweep_options import SweepOptions

MODEL_OF_BEST_RECIPE = "v3"


@dataclass(frozen=True, kw_only=True)
class PrepareDataConfig(ModeConfig):
    """`prepare_data`: fetch and verify a benchmark, or write the built-in example."""

    data: DatasetOptions = DatasetOptions()
    splits: SplitOptions = SplitOptions()
    tracking: OfflineTrackingOptions = OfflineTrackingOptions()


@dataclass(frozen=True, kw_only=True)
class SplitConfig(ModeConfig):
    """`split`: split a network into train, validation and test; draw negatives; audit."""

    split: NewSplitOptions = NewSplitOptions()
    source: SourceNetworkOptions = SourceNetworkOptions()
    tracking: OfflineTrackingOptions = OfflineTrackingOptions()

    def validate(self) -> list[str]:
        if self.source.network is None:
            return [] if self.split.pairs else ["pairs: required (or network); the positive pairs to split"]
        found = ["network and pairs: give one of them, not both"] if self.split.pairs else []
        return found if self.split.fasta else [*found, _FASTA_OF_NETWORK]

    def unused_options(self, given: frozenset[str]) -> list[str]:
        return [] if self.source.network else _of_no_network(given, vars(self.source))


@dataclass(frozen=True, kw_only=True)
class AuditConfig(ModeConfig):
    """`audit`: measure the overlap of test and training set, and its effect."""

    data: DatasetOptions = DatasetOptions()
    pairs: AuditedPairsOptions = AuditedPairsOptions()
    source: SourceNetworkOptions = SourceNetworkOptions()
    division: NetworkDivisionOptions = NetworkDivisionOptions()
    output: OutputOptions = OutputOptions()
    tracking: OfflineTrackingOptions = OfflineTrackingOptions()

    def validate(self) -> list[str]:
        if self.source.network:
            return _network_problems(self, ("dataset", "train_pairs"))
        if self.data.dataset and self.pairs.train_pairs:
            return ["dataset and train_pairs: give one of them, not both"]
        if self.pairs.fasta and not self.pairs.train_pairs:
            return ["fasta: goes with train_pairs and test_pairs, or with network"]
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:
        names = (*vars(self.source), *vars(self.division))
        return [] if self.source.network else _of_no_network(given, names)


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(ModeConfig):
    """`embed`: FASTA -> Parquet embedding cache."""

    data: DatasetOptions = DatasetOptions()
    embedder: EmbedderOptions = EmbedderOptions()
    compute: DeviceOptions = DeviceOptions()
    output: EmbedOutputOptions = EmbedOutputOptions()
    parallel: ParallelOptions = ParallelOptions()
    tracking: OfflineTrackingOptions = OfflineTrackingOptions()

    def validate(self) -> list[str]:
        return [*_fasta_or_dataset(self.output.fasta, self.data), *self.embedder.missing_weights()]


@dataclass(frozen=True, kw_only=True)
class ImportConfig(ModeConfig):
    """`import_embeddings`: embeddings made elsewhere -> Parquet embedding cache."""

    source: ImportOptions = ImportOptions()
    parallel: ParallelOptions = ParallelOptions()
    tracking: OfflineTrackingOptions = OfflineTrackingOptions()


@dataclass(frozen=True, kw_only=True)
class TrainEmbedderConfig(ModeConfig):
    """`train_embedder`: train the language model behind the embedder `protein_lm` on sequences."""

    data: DatasetOptions = DatasetOptions()
    text: LanguageTextOptions = LanguageTextOptions()
    further: FurtherTextOptions = FurtherTextOptions()
    exclude: ExcludeOptions = ExcludeOptions()
    model: LanguageModelOptions = LanguageModelOptions()
    training: LanguageTrainingOptions = LanguageTrainingOptions()
    scheduler: SchedulerOptions = SchedulerOptions(scheduler="linear")
    compute: ComputeOptions = LanguageComputeOptions()
    processes: ProcessOptions = ProcessOptions()
    output: OutputOptions = OutputOptions()
    tracking: OfflineTrackingOptions = OfflineTrackingOptions()

    def validate(self) -> list[str]:
        return _fasta_or_dataset(self.text.fasta, self.data)

    def problems(self) -> list[str]:
        return [*super().problems(), *_process_problems(self.training, self.compute, self.processes)]


@dataclass(frozen=True, kw_only=True)
class PairTrainingConfig(ModeConfig):
    """What every training of a pair model has: data, hyper-parameters, device and output."""

    data: DatasetOptions = DatasetOptions()
    pairs: TrainPairsOptions = TrainPairsOptions()
    cache: CacheOptions = CacheOptions()
    training: TrainingOptions = TrainingOptions()
    sampling: SamplingOptions = SamplingOptions()
    loss: PairLossOptions = PairLossOptions()
    scheduler: SchedulerOptions = SchedulerOptions()
    compute: ComputeOptions = ComputeOptions()
    processes: ProcessOptions = ProcessOptions()
    output: OutputOptions = OutputOptions()
    tracking: TrackingOptions = TrackingOptions()

    def validate(self) -> list[str]:
        own = {"train_pairs": self.pairs.train_pairs, "val_pairs": self.pairs.val_pairs}
        given = [name for name, value in own.items() if value]
        if not given:
            return ["fasta: goes with train_pairs and val_pairs"] if self.cache.fasta else []
        found = [f"{name}: required, since {given[0]} is given" for name, value in own.items() if not value]
        if self.data.dataset:
            found.append(f"dataset and {given[0]}: give one of them, not both")
        if not (self.cache.fasta or self.cache.embeddings):
            found.append(f"fasta or embeddings: one is required, since {given[0]} is given")
        return found

    def problems(self) -> list[str]:
        return [*super().problems(), *_process_problems(self.training, self.compute, self.processes)]


@dataclass(frozen=True, kw_only=True)
class NewModelConfig(PairTrainingConfig):
    """What a training from random weights has in addition: a network in place of tables, and a model."""

    source: SourceNetworkOptions = SourceNetworkOptions()
    division: NetworkDivisionOptions = NetworkDivisionOptions()
    embedder: EmbedderOptions = EmbedderOptions()
    model: ModelChoice = ModelChoice()
    tracking: OfflineTrackingOptions = OfflineTrackingOptions()

    def validate(self) -> list[str]:
        if self.source.network:
            return _network_problems(self, ("dataset", "train_pairs", "val_pairs"))
        return super().validate()

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if self.source.network:
            return []
        names = {*vars(self.source), *vars(self.division)}
        if self.pairs.train_pairs and self.division.negatives:
            names -= {"negatives", "negative_ratio", "split_seed", "known", "id_map", "ids"}
        return _of_no_network(given, names)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(NewModelConfig):
    """`train_only`, alias `pretrain_only`: train, log, checkpoint, evaluate on validation."""

    def validate(self) -> list[str]:
        needs_weights = not self.cache.embeddings
        return [*super().validate(), *(self.embedder.missing_weights() if needs_weights else [])]


@dataclass(frozen=True, kw_only=True)
class SweepConfig(TrainConfig):
    """`sweep`: search hyper-parameters; the options of `train_only` are those of each trial."""

    sweep: SweepOptions = SweepOptions()
    parallel: ParallelOptions = ParallelOptions()

    def validate(self) -> list[str]:
        found = super().validate()
        if self.processes.processes != 1:
            found.append("processes: a trial is trained by one process; give workers for several trials")
        if self.tracking.offline:
            found.append("offline: the trials are runs nested in that of the sweep, at a tracking server")
        return found


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(PairTrainingConfig):
    """`finetune_from_pretrain`: continue training from the weights of an earlier run."""

    training: TrainingOptions = TrainingOptions(epochs=FINETUNE_EPOCHS, learning_rate=FINETUNE_RATE)
    pretrain: PretrainOptions = PretrainOptions()
    warm_start: WarmStartOptions = WarmStartOptions()


@dataclass(frozen=True, kw_only=True)
class ResumeConfig(ModeConfig):
    """`resume`: continue an interrupted training run, exactly, in the same MLflow run."""

    resumed: ResumedRunOptions = ResumedRunOptions()


@dataclass(frozen=True, kw_only=True)
class SyncConfig(ModeConfig):
    """`sync`: send the journals of runs that the tracking server lacks."""

    sync: SyncOptions = SyncOptions()
    tracking: SyncTrackingOptions = SyncTrackingOptions()


@dataclass(frozen=True, kw_only=True)
class CleanConfig(ModeConfig):
    """`clean`: list what fills the disk, and free what can be made again."""

    clean: CleanOptions = CleanOptions()
    tracking: TrackingOptions = TrackingOptions()


@dataclass(frozen=True, kw_only=True)
class ScoringConfig(ModeConfig):
    """What every scoring of labelled pairs with trained models has."""

    data: DatasetOptions = DatasetOptions()
    pairs: TestPairsOptions = TestPairsOptions()
    cache: CacheOptions = CacheOptions()
    compute: ComputeOptions = ComputeOptions()
    scoring: ScoringOptions = ScoringOptions()
    measure: MeasureOptions = MeasureOptions()
    output: OutputOptions = OutputOptions()

    def validate(self) -> list[str]:
        if self.data.dataset and self.pairs.test_pairs:
            return ["dataset and test_pairs: give one of them, not both"]
        return []


@dataclass(frozen=True, kw_only=True)
class EvalConfig(ScoringConfig):
    """`eval_only`: score a test set with a run's best checkpoint or registered model."""

    evaluated: EvaluatedRunOptions = OptionalRunOptions()
    given: GivenScoresOptions = GivenScoresOptions()
    statistics: InputStatisticsOptions = InputStatisticsOptions()
    leakage: LeakageOptions = LeakageOptions()
    network: NetworkOptions = NetworkOptions()
    tracking: TrackingOptions = TrackingOptions()

    def validate(self) -> list[str]:
        found = super().validate()
        if self.given.scores is None:
            return found if self.evaluated.named else [*found, NO_MODEL]
        if self.evaluated.named:
            found.append("scores and a model (run_id, model_uri, released): give one of them, not both")
        if not (self.data.dataset or self.pairs.test_pairs):
            found.append("dataset or test_pairs: one is required, since scores is given; the labelled pairs")
        if self.pairs.test_pairs and not self.cache.fasta:
            found.append("fasta: required, since scores is given; the sequences of the proteins")
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        if self.given.scores is None:
            return []
        groups = (self.network, self.scoring, self.statistics)
        of_model = (name for group in groups for name in vars(group))
        names = (*of_model, "embeddings", "device", "amp", "deterministic")
        return [f"{name} has no effect: the scores are given" for name in names if name in given]


@dataclass(frozen=True, kw_only=True)
class CompareConfig(ScoringConfig):
    """`compare`: evaluate runs on the same test pairs, with paired differences."""

    measure: MeasureOptions = PairedMeasureOptions()
    compared: ComparedRunsOptions = ComparedRunsOptions()


@dataclass(frozen=True, kw_only=True)
class PredictConfig(ModeConfig):
    """`predict`: score pairs, or all pairs of proteins, with the best checkpoint."""

    data: DatasetOptions = DatasetOptions()
    cache: CacheOptions = CacheOptions()
    compute: DeviceOptions = DeviceOptions()
    evaluated: EvaluatedRunOptions = OptionalRunOptions()
    prediction: PredictionOptions = PredictionOptions()
    statistics: InputStatisticsOptions = InputStatisticsOptions()
    parallel: ParallelOptions = ParallelOptions()
    tracking: TrackingOptions = TrackingOptions()

    def validate(self) -> list[str]:
        lists = bool(self.prediction.proteins_a or self.prediction.proteins_b)
        return _protein_source(self.data, self.cache, lists_given=lists)


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(ModeConfig):
    """`explain`: find the residues of two proteins that determine their score."""

    data: DatasetOptions = DatasetOptions()
    cache: CacheSourceOptions = CacheSourceOptions()
    compute: DeviceOptions = DeviceOptions()
    output: OutputOptions = OutputOptions()
    evaluated: EvaluatedRunOptions = EvaluatedRunOptions()
    explanation: ExplanationOptions = ExplanationOptions()
    tracking: TrackingOptions = TrackingOptions()

    def validate(self) -> list[str]:
        return _protein_source(self.data, self.cache)


@dataclass(frozen=True, kw_only=True)
class ServeConfig(ModeConfig):
    """`serve`: answer requests with a model, and show a page for a few proteins."""

    evaluated: EvaluatedRunOptions = OptionalRunOptions()
    serving: ServingOptions = ServingOptions()
    tracking: TrackingOptions = TrackingOptions()


@dataclass(frozen=True, kw_only=True)
class PromoteConfig(ScoringConfig):
    """`promote`: register a model; move the alias if it is better."""

    measure: MeasureOptions = PairedMeasureOptions()
    evaluated: EvaluatedRunOptions = EvaluatedRunOptions()
    registry: RegistryOptions = RegistryOptions()
    promotion: PromotionOptions = PromotionOptions()
    tracking: TrackingOptions = TrackingOptions()

    def validate(self) -> list[str]:
        unnamed = [] if self.evaluated.released else self.registry.missing_name()
        return [*super().validate(), *unnamed]


@dataclass(frozen=True, kw_only=True)
class RollbackConfig(ModeConfig):
    """`rollback`: give the alias back to the version that held it before."""

    registry: RegistryOptions = RegistryOptions()

    def validate(self) -> list[str]:
        return self.registry.missing_name()


@dataclass(frozen=True, kw_only=True)
class PipelineConfig(NewModelConfig):
    """`full_pipeline`, also `main`: prepare, embed, pretrain, finetune, evaluate, promote."""

    language: LanguageStageOptions = LanguageStageOptions()
    further: FurtherTextOptions = FurtherTextOptions()
    exclude: ExcludeOptions = ExcludeOptions()
    warm_start: WarmStartOptions = WarmStartOptions()
    finetune: FinetuneStageOptions = FinetuneStageOptions()
    test: TestPairsOptions = TestPairsOptions()
    measure: MeasureOptions = MeasureOptions()
    leakage: LeakageOptions = LeakageOptions()
    network: NetworkOptions = NetworkOptions()
    registry: RegistryOptions = RegistryOptions()
    promotion: PromotionOptions = PromotionOptions()
    stages: StageOptions = StageOptions()

    @property
    def trains_embedder(self) -> bool:
        """Whether a language model is trained first."""
        given = self.embedder.embedder_run_id or self.cache.embeddings
        return self.embedder.embedder == "protein_lm" and not given

    @property
    def takes_best_recipe(self) -> bool:
        """Whether the pipeline takes the recipe that is best for `protein_lm`; see `with_best_recipe`."""
        of_others = {
            name for name, models in models_by_hyperparameter().items() if MODEL_OF_BEST_RECIPE not in models
        }
        return (
            self.embedder.embedder == "protein_lm"
            and not self.cache.embeddings
            and self.embedder.granularity != "protein"
            and not self.names_given & {"model", *of_others}
        )

    def without_effect(self, given: frozenset[str]) -> list[str]:
        config = self.replace(model=MODEL_OF_BEST_RECIPE) if self.takes_best_recipe else self
        return super(PipelineConfig, config).without_effect(given)

    def validate(self) -> list[str]:
        found = super().validate()
        if self.source.network and self.test.test_pairs and not self.finetune.finetunes:
            found.append("network and test_pairs: give one of them, not both; test pairs are of the network")
        if self.tracking.offline:
            found.append(
                "offline: the stages find one another at the tracking server; run train_only offline"
            )
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle = super().unused_options(given)
        if not self.trains_embedder:
            names = (*vars(self.further), *vars(self.exclude), *vars(self.language))
            idle += [f"{name} has no effect: no language model is trained" for name in names if name in given]
        if not self.registry.registered_model:
            names = ("alias", *vars(self.promotion))
            idle += [f"{name} has no effect: no registered_model is named" for name in names if name in given]
        return idle


_FASTA_OF_NETWORK = "fasta: required, since network is given; the sequences of its proteins"


def _network_problems(config: ModeConfig, others: Sequence[str]) -> list[str]:
    """What else is given in place of the network, and that the sequences are missing."""
    values = config.values
    found = [f"network and {name}: give one of them, not both" for name in others if values[name]]
    return found if values["fasta"] else [*found, _FASTA_OF_NETWORK]


def _of_no_network(given: frozenset[str], names: Iterable[str]) -> list[str]:
    return [f"{name} has no effect: no network is given" for name in sorted(names) if name in given]


def _fasta_or_dataset(fasta: str | None, data: DatasetOptions) -> list[str]:
    return ["fasta and dataset: give one of them, not both"] if fasta and data.dataset else []


def _process_problems(
    training: TrainingOptions, compute: ComputeOptions, processes: ProcessOptions
) -> list[str]:
    """Processes without work, or on one GPU."""
    if processes.validate() or processes.known == 1:
        return []
    found, count, batches = [], processes.known, training.accumulation_steps
    if count and batches and batches % count:
        found.append(
            f"accumulation_steps: {count} processes share the {batches} batches of an optimiser step, and "
            f"some would wait; give a multiple of {count}, or leave it out, or give other processes"
        )
    if compute.device.startswith("cuda:"):
        found.append(f"device: each process needs a GPU of its own; give device=cuda, not {compute.device}")
    return found


def _protein_source(
    data: DatasetOptions, cache: CacheSourceOptions, *, lists_given: bool = False
) -> list[str]:
    """The problem that the proteins have two sources, or none; lists may bring their own sequences."""
    if cache.fasta or data.dataset or cache.embeddings or lists_given:
        return _fasta_or_dataset(cache.fasta, data)
    return ["fasta: required (or embeddings, or dataset); the proteins' sequences or embeddings"]


MODES: dict[str, type[ModeConfig]] = {
    "full_pipeline": PipelineConfig,
    "prepare_data": PrepareDataConfig,
    "split": SplitConfig,
    "audit": AuditConfig,
    "train_embedder": TrainEmbedderConfig,
    "embed": EmbedConfig,
    "import_embeddings": ImportConfig,
    "train_only": TrainConfig,
    "sweep": SweepConfig,
    "finetune_from_pretrain": FinetuneConfig,
    "resume": ResumeConfig,
    "sync": SyncConfig,
    "clean": CleanConfig,
    "eval_only": EvalConfig,
    "compare": CompareConfig,
    "predict": PredictConfig,
    "explain": ExplainConfig,
    "serve": ServeConfig,
    "promote": PromoteConfig,
    "rollback": RollbackConfig,
}
