"""The `split` mode: splits a network, draws negatives and audits the result."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.config.loading import logged_parameters
from ppi_train.data.fasta import joined_tables, read_fasta
from ppi_train.data.mapped_network import write_names
from ppi_train.data.options import NewSplitOptions
from ppi_train.data.pairs import PairTable, read_pairs, write_pairs
from ppi_train.data.splits import SIDES, DrawnSplit, SplitHelp, SplitPlan
from ppi_train.errors import ConfigError, DataError
from ppi_train.evaluation.overlap import audit_tables, log_audit
from ppi_train.io.files import write_file
from ppi_train.io.outputs import check_output_path
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.configs import SplitConfig
from ppi_train.runs.datasets import tracked_dataset
from ppi_train.runs.labels import data_label
from ppi_train.runs.network_source import fasta_paths, read_source
from ppi_train.runs.network_split import divide_network, small_sides
from ppi_train.runs.prepared_network import refuse_star, split_help
from ppi_train.runs.prepared_tables import IDENTIFIERS
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

RECORD = "split.json"
_FILES = (*(f"{side}.tsv" for side in SIDES), RECORD)


def run(config: SplitConfig, tracked: TrackedRun) -> PipelineResult:
    """Writes the three tables and `split.json`, and audits test against train.

    Raises:
        ConfigError: the output folder holds a split already, or cannot be written.
        DataError: the pairs cannot be split as asked for, or a sequence is missing.
    """
    options = config.split
    tracked.identify(dataset=data_label(config.source.network or options.pairs or ""))
    tracked.log_parameters(logged_parameters(config))
    output = Path(options.output or "")
    _check_output(output, overwrite=options.overwrite)
    given = _given_network(config, tracked, output) if config.source.network else _given_pairs(options)
    tracked.log_datasets([tracked_dataset(data_label(given.table.source), "pairs", given.table)])
    plan = SplitPlan(
        method=options.method,
        val_fraction=options.val_fraction,
        test_fraction=options.test_fraction,
        negatives=options.negatives,
        negative_ratio=options.negative_ratio,
        seed=options.seed,
    )
    split = divide_network(
        given.edges, plan, given.known_of, sequences=given.sequences, max_identity=options.max_identity
    )
    record = _record(options, given, split)
    outputs = _write(output, split, record)
    for line in small_sides(split, plan, len(given.edges)):
        logger.warning("%s", line)
    tracked.log_file(output / RECORD)
    metrics = _metrics(split, given)
    tracked.log_metrics(metrics)
    audit = audit_tables(split.tables["train"], split.tables["test"], given.sequences, same_names=True)
    log_audit(audit, tracked, output, train=outputs["train"], test=outputs["test"])
    train, validation = (shlex.quote(outputs[name]) for name in ("train", "validation"))
    return PipelineResult(
        run_id=tracked.run_id,
        metrics=metrics | audit.metrics,
        outputs=outputs,
        then=(f"train_only -P train_pairs={train} -P val_pairs={validation} -P fasta=YOUR.fasta",),
    )


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What is split.

    Attributes:
        table: The pairs as they were given, for records.
        edges: The positive pairs of two different proteins.
        known_of: What else is known of these.
        sequences: By accession; None if there are none.
        fasta_digest: Of the sequences.
    """

    table: PairTable
    edges: PairTable
    known_of: SplitHelp
    sequences: Mapping[str, str] | None
    fasta_digest: str | None


def _given_pairs(options: NewSplitOptions) -> _Given:
    table = read_pairs(options.pairs or "", labels="optional")
    fasta = (
        joined_tables([read_fasta(path) for path in fasta_paths(options.fasta)]) if options.fasta else None
    )
    return _Given(
        table=table,
        edges=_edges(table),
        known_of=SplitHelp(),
        sequences=fasta.sequences if fasta else None,
        fasta_digest=fasta.digest if fasta else None,
    )


def _given_network(config: SplitConfig, tracked: TrackedRun, output: Path) -> _Given:
    """The pairs of a downloaded network; what its names stand for is written to the output, too."""
    source = read_source(config.source, fasta_paths(config.split.fasta or ""), keep_negatives=False)
    refuse_star(source.mapped.pairs)
    for line in source.lines():
        logger.info("%s", line)
    write_names(output / IDENTIFIERS, source.mapping)
    tracked.log_file(output / IDENTIFIERS)
    fasta = source.proteins.sequences
    return _Given(
        table=source.mapped.pairs,
        edges=source.mapped.pairs,
        known_of=split_help(source),
        sequences=fasta.sequences,
        fasta_digest=fasta.digest,
    )


def _write(output: Path, split: DrawnSplit, record: Mapping[str, object]) -> dict[str, str]:
    """Writes the tables and then the record; returns the table paths."""
    (output / RECORD).unlink(missing_ok=True)
    paths = {side: output / f"{side}.tsv" for side in SIDES}
    for side, table in split.tables.items():
        write_pairs(paths[side], table)
        logger.info("%s: %s: %s", side, table.summary, paths[side])
    for side, (first, last) in split.years.items():
        logger.info("%s: published %d to %d", side, first, last)
    why = "without a year" if split.years else "between two sides"
    logger.info("%s edges %s dropped", f"{split.dropped:,}", why)
    write_file(output / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return {side: str(path) for side, path in paths.items()}


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


def _record(options: NewSplitOptions, given: _Given, split: DrawnSplit) -> dict[str, object]:
    """Inputs, parameters and results of the split, for `split.json`."""
    asked = ["method", "val_fraction", "test_fraction", "negatives", "negative_ratio", "seed"]
    if options.method == "clustered":
        asked.append("max_identity")
    return {
        **{name: getattr(options, name) for name in asked},
        "pairs_digest": given.table.digest,
        "fasta_digest": given.fasta_digest,
        "edges": len(given.edges),
        "left_out": len(given.table) - len(given.edges),
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


def _metrics(split: DrawnSplit, given: _Given) -> dict[str, float]:
    sizes: Mapping[str, PairTable] = split.tables
    metrics: dict[str, float] = {f"data/{side}_pairs": len(table) for side, table in sizes.items()}
    metrics |= {f"data/{side}_proteins": len(table.proteins) for side, table in sizes.items()}
    return metrics | {
        "data/dropped_edges": split.dropped,
        "data/left_out_pairs": len(given.table) - len(given.edges),
    }
