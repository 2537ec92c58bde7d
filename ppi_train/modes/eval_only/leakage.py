"""The leakage part of `eval_only`: overlap with training, and gain over baselines.

A finetuned model has seen the pairs of its ancestors as well, so these count as training pairs too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable
from ppi_train.errors import DataError, UserError, first_ten
from ppi_train.evaluation.overlap import Audit, audit_tables, log_audit
from ppi_train.evaluation.pair_metrics import ranking_metrics
from ppi_train.evaluation.paired import PairedDifference, paired_differences
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.scored_split import SplitSource
from ppi_train.runs.training_pairs import TrainingLineage
from ppi_train.tracking.run import TrackedDataset, TrackedRun

logger = logging.getLogger(__name__)

CHANCE = "chance"
_NAMES = {"degree": "degree in training", "nearest": "nearest training pairs", CHANCE: "chance"}


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A metric of the model minus that of the best trivial baseline.

    `low` and `high` are the ends of its 95% interval; None without resamples.
    """

    baseline: str
    model: float
    trivial: float
    low: float | None
    high: float | None

    @property
    def value(self) -> float:
        return self.model - self.trivial


@dataclass(frozen=True, kw_only=True)
class EvaluatedLeakage:
    """Leakage of an evaluation, and the gains over trivial baselines.

    Attributes:
        audit: The scored pairs against the training pairs.
        train: The training pairs, including those of ancestors.
        test: Name of the scored split for people.
        gains: `auroc` and `auprc`; empty where the scored pairs have one class only.
        prefix: Prefix of the gains' metric names: `test` or `val`.
        notes: What was left out, and why.
    """

    audit: Audit
    train: PairTable
    test: str
    gains: Mapping[str, Gain]
    prefix: str
    notes: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics by name, without the time that the audit took."""
        found = {name: value for name, value in self.audit.metrics.items() if not name.endswith("/seconds")}
        return found | self.gain_metrics

    @property
    def training_degrees(self) -> np.ndarray | None:
        """Degree in training of both proteins of each scored pair, (n, 2).

        None if most pairs have no training protein: strata by degree would then be meaningless.
        """
        return None if np.mean(self.audit.seen > 0) < 0.5 else self.audit.degrees

    @property
    def gain_metrics(self) -> dict[str, float]:
        """The gains, with their intervals."""
        found: dict[str, float] = {}
        for name, gain in self.gains.items():
            key = f"{self.prefix}/{name}_over_trivial"
            found[key] = gain.value
            if gain.low is not None and gain.high is not None:
                found |= {f"{key}_ci_low": gain.low, f"{key}_ci_high": gain.high}
        return found


def evaluate_leakage(
    table: PairTable,
    logits: np.ndarray,
    config: EvalConfig,
    split: SplitSource,
    *,
    trained_on: Callable[[], TrainingLineage | None],
    digests: Mapping[str, str],
    prefix: str,
) -> EvaluatedLeakage | None:
    """Audits the scored pairs against all pairs that the model was trained on.

    Missing inputs do not stop an evaluation: without training pairs, or where nothing says which proteins
    are the same, there is no audit, and without sequences no similarity measure. Warnings say so.

    Args:
        table: The scored pairs, labelled.
        logits: (n,) their scores.
        config: Config of the evaluation.
        split: The split that the pairs come from.
        trained_on: Reads the training pairs; called only if there is an audit.
        digests: Sequence digests of the scored proteins, by accession.
        prefix: Prefix of the gains' metric names, such as `test`.
    """
    if config.leakage.audit == "off":
        return None
    if split.split == "train":
        logger.info("no audit: these are the training pairs themselves")
        return None
    lineage = trained_on()
    if lineage is None:
        logger.warning("no audit, and no gain over the trivial baselines: there are no training pairs")
        return None
    notes = list(lineage.notes)
    sequences = _all_sequences(table, lineage, split, notes) if config.leakage.audit == "full" else None
    known = [*lineage.digests, digests]
    try:
        audit = audit_tables(
            lineage.table, table, sequences, known=known, data_dir=Path(config.data.data_dir)
        )
    except DataError as error:
        logger.warning("no audit, and no gain over the trivial baselines: %s", error)
        return None
    gains: dict[str, Gain] = {}
    if 0 < table.positives < len(table):
        gains = gains_over_trivial(
            logits, table, audit, resamples=config.measure.bootstrap_resamples, seed=config.compute.seed
        )
    else:
        notes.append("no gain over the trivial baselines: the scored pairs have one class only")
    return EvaluatedLeakage(
        audit=audit,
        train=lineage.table,
        test=f"{split.split} of {split.name}",
        gains=gains,
        prefix=prefix,
        notes=tuple(notes),
    )


def gains_over_trivial(
    logits: np.ndarray, table: PairTable, audit: Audit, *, resamples: int, seed: int
) -> dict[str, Gain]:
    """Gains in AUROC and AUPRC over the best trivial baseline.

    Chance is one of the baselines, as the others may rank worse than chance.

    Args:
        logits: (n,) scores of the pairs.
        table: The pairs, of both classes.
        audit: Has the scores of the baselines.
        resamples: Number of bootstrap resamples for the intervals; 0 for no intervals.
        seed: The same seed gives the same intervals.
    """
    labels = table.required_labels
    trivial = {CHANCE: np.zeros(len(table)), **audit.baselines}  # the first of equally good ones is named
    ranked = {name: ranking_metrics(scores, labels) for name, scores in trivial.items()}
    model = ranking_metrics(logits, labels)
    best = {metric: max(ranked, key=lambda name: ranked[name][metric]) for metric in model}
    intervals: dict[str, dict[str, PairedDifference]] = {}
    if resamples:
        intervals = {
            name: paired_differences(
                logits, trivial[name], labels, table.index, resamples=resamples, seed=seed
            )
            for name in set(best.values())
        }
    return {
        metric: Gain(
            baseline=name,
            model=model[metric],
            trivial=ranked[name][metric],
            low=intervals[name][metric].low if intervals else None,
            high=intervals[name][metric].high if intervals else None,
        )
        for metric, name in best.items()
    }


def _all_sequences(
    table: PairTable, lineage: TrainingLineage, split: SplitSource, notes: list[str]
) -> dict[str, str] | None:
    """The sequences of all proteins of both tables.

    None, with a note and a warning, if some are missing.
    """
    found = dict(lineage.sequences)
    try:
        found |= read_fasta(split.sequences).sequences if split.sequences else {}
    except UserError as error:
        notes.append(f"the sequences of what is scored cannot be read: {error.what}")
    missing = sorted({*table.proteins, *lineage.table.proteins} - found.keys())
    if not missing:
        return found
    note = (
        "how similar the proteins are to those of training is not measured: "
        f"{len(missing):,} of all have no sequence ({first_ten(missing)}); give a fasta with all of them"
    )
    logger.warning("%s", note)
    notes.append(note)
    return None


def log_leakage(
    leakage: EvaluatedLeakage,
    tracked: TrackedRun,
    folder: Path,
    *,
    model_id: str | None,
    dataset: TrackedDataset,
) -> None:
    """Logs the metrics and `audit.json`, and prints the results."""
    log_audit(leakage.audit, tracked, folder, train=leakage.train.source, test=leakage.test)
    tracked.log_metrics(leakage.gain_metrics, model_id=model_id, dataset=dataset)
    for name, gain in leakage.gains.items():
        interval = ""
        if gain.low is not None and gain.high is not None:
            interval = f" (95% interval {gain.low:+.4f} to {gain.high:+.4f})"
        logger.info(
            "%s %+.4f%s over the best trivial baseline, %s",
            f"{leakage.prefix}/{name}_over_trivial", gain.value, interval, _NAMES[gain.baseline],
        )  # fmt: skip
