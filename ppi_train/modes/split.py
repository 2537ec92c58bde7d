"""The `split` mode: splits a network, draws negatives and audits the result."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ppi_train.config.loading import logged_parameters
from ppi_train.data.fasta import SequenceTable, read_fasta
from ppi_train.data.options import NewSplitOptions
from ppi_train.data.pairs import PairTable, read_pairs, write_pairs
from ppi_train.data.similarity import similarity_clusters
from ppi_train.data.splits import SIDES, DrawnSplit, SplitPlan, draw_split
from ppi_train.errors import ConfigError, DataError
from ppi_train.evaluation.overlap import audit_tables, log_audit, sequences_of
from ppi_train.io.files import write_file
from ppi_train.io.outputs import check_output_path
from ppi_train.io.progress import Progress
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.configs import SplitConfig
from ppi_train.runs.datasets import tracked_dataset
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

RECORD = "split.json"
_FILES = (*(f"{side}.tsv" for side in SIDES), RECORD)
FEW_EDGES = 200
"""Fewer edges on a side are warned of: the 95% interval of an AUROC is then wider than some 0.1."""


def run(config: SplitConfig, tracked: TrackedRun) -> PipelineResult:
    """Writes the three tables and `split.json`, and audits test against train.

    Raises:
        ConfigError: the output folder holds a split already, or cannot be written.
        DataError: the pairs cannot be split as asked for, or a sequence is missing.
    """
    options = config.split
    tracked.identify(dataset=Path(options.pairs or "").stem)
    tracked.log_parameters(logged_parameters(config))
    output = Path(options.output or "")
    _check_output(output, overwrite=options.overwrite)
    given = read_pairs(options.pairs or "", labels="optional")
    fasta = read_fasta(options.fasta) if options.fasta else None
    tracked.log_datasets([tracked_dataset(Path(given.source).stem, "pairs", given)])
    edges = _edges(given)
    split = _draw(options, edges, fasta)
    record = _record(options, given, edges, fasta, split)
    outputs = _write(output, split, record)
    _warn_of_small_sides(options, split, len(edges))
    tracked.log_file(output / RECORD)
    metrics = _metrics(split, given, edges)
    tracked.log_metrics(metrics)
    sequences = fasta.sequences if fasta else None
    audit = audit_tables(split.tables["train"], split.tables["test"], sequences, same_names=True)
    log_audit(audit, tracked, output, train=outputs["train"], test=outputs["test"])
    return PipelineResult(run_id=tracked.run_id, metrics=metrics | audit.metrics, outputs=outputs)


def _draw(options: NewSplitOptions, edges: PairTable, fasta: SequenceTable | None) -> DrawnSplit:
    # Looked up for every method, as the audit at the end needs all of them.
    sequences = sequences_of(edges, fasta.sequences) if fasta else None
    plan = SplitPlan(
        method=options.method,
        val_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        negatives=options.negatives,
        negative_ratio=options.negative_ratio,
        seed=options.seed,
    )
    if options.method != "clustered":
        return draw_split(edges, plan)
    assert sequences is not None  # the schema requires a FASTA
    return draw_split(edges, plan, _clusters(sequences, options.max_identity))


def _write(output: Path, split: DrawnSplit, record: Mapping[str, object]) -> dict[str, str]:
    """Writes the tables and then the record; returns the table paths."""
    (output / RECORD).unlink(missing_ok=True)
    paths = {side: output / f"{side}.tsv" for side in SIDES}
    for side, table in split.tables.items():
        write_pairs(paths[side], table)
        logger.info("%s: %s: %s", side, table.summary, paths[side])
    logger.info("%s edges between two sides dropped", f"{split.dropped:,}")
    write_file(output / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return {side: str(path) for side, path in paths.items()}


def _warn_of_small_sides(options: NewSplitOptions, split: DrawnSplit, edges: int) -> None:
    """Warns of sides with few edges, on which metrics are uncertain."""
    shares = {"validation": "val_fraction", "test": "test_fraction"}
    for side, fraction in shares.items():
        positives = split.tables[side].positives
        if positives < FEW_EDGES:
            logger.warning(
                "%s has only %s of the %s edges (method=%s, %s=%s; %s dropped between sides): metrics on so "
                "few are uncertain; give a larger %s, or method=random, which drops none",
                side, f"{positives:,}", f"{edges:,}", options.method, fraction,
                f"{getattr(options, fraction):g}", f"{split.dropped:,}", fraction,
            )  # fmt: skip


def _check_output(output: Path, *, overwrite: bool) -> None:
    check_output_path("output", output, folder=True)
    for name in _FILES:
        check_output_path("output", output / name)
    there = [name for name in _FILES if (output / name).exists()]
    if there and not overwrite:
        raise ConfigError(
            "the output folder holds a split already",
            where=output,
            got=", ".join(there),
            remedy="name another folder, or give overwrite=true",
        )


def _edges(given: PairTable) -> PairTable:
    """The positive pairs of two different proteins; others are logged.

    Pairs of a protein with itself are left out: no negative is of that kind, so that a model could recognise
    them as positive.
    """
    positive = np.ones(len(given), bool) if given.labels is None else given.labels == 1
    alone = given.index[:, 0] == given.index[:, 1]
    if not positive.all():
        logger.warning("%s pairs of label 0 are left out: negatives are drawn", f"{(~positive).sum():,}")
    if (alone & positive).any():
        logger.warning(
            "%s pairs of a protein with itself are left out: no negative is of that kind",
            f"{(alone & positive).sum():,}",
        )
    edges = given.select(positive & ~alone)
    if not len(edges):
        raise DataError("no positive pair of two proteins is left to split", where=given.source)
    return edges


def _clusters(sequences: Sequence[str], max_identity: float) -> np.ndarray:
    logger.info("clustering %s proteins", f"{len(sequences):,}")
    with Progress(len(sequences), unit="protein") as progress:
        clusters = similarity_clusters(sequences, max_identity, advance=progress.advance)
    sizes = np.bincount(clusters)
    logger.info("%s clusters, the largest of %s proteins", f"{len(sizes):,}", f"{sizes.max():,}")
    return clusters


def _record(
    options: NewSplitOptions,
    given: PairTable,
    edges: PairTable,
    fasta: SequenceTable | None,
    split: DrawnSplit,
) -> dict[str, object]:
    """Inputs, parameters and results of the split, for `split.json`."""
    asked = ["method", "val_fraction", "test_fraction", "negatives", "negative_ratio", "seed"]
    if options.method == "clustered":
        asked.append("max_identity")
    return {
        **{name: getattr(options, name) for name in asked},
        "pairs_digest": given.digest,
        "fasta_digest": fasta.digest if fasta else None,
        "edges": len(edges),
        "left_out": len(given) - len(edges),
        "dropped_between_sides": split.dropped,
        "sides": {side: _side(table) for side, table in split.tables.items()},
    }


def _side(table: PairTable) -> dict[str, object]:
    return {
        "pairs": len(table),
        "positives": table.positives,
        "negatives": len(table) - table.positives,
        "proteins": len(table.proteins),
        "digest": table.digest,
    }


def _metrics(split: DrawnSplit, given: PairTable, edges: PairTable) -> dict[str, float]:
    sizes: Mapping[str, PairTable] = split.tables
    metrics: dict[str, float] = {f"data/{side}_pairs": len(table) for side, table in sizes.items()}
    metrics |= {f"data/{side}_proteins": len(table.proteins) for side, table in sizes.items()}
    return metrics | {
        "data/dropped_edges": split.dropped,
        "data/left_out_pairs": len(given) - len(edges),
    }
