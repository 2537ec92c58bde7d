"""The `audit` mode: protein overlap and similarity between training and test sets.

It also measures how well trivial baselines, which use that overlap alone, rank the test pairs.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.evaluation.overlap import audit_tables, log_audit
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.configs import AuditConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare, tracked_dataset
from ppi_train.runs.labels import data_label
from ppi_train.runs.own_data import with_own_data
from ppi_train.runs.scored_split import available_split
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)


def run(config: AuditConfig, tracked: TrackedRun) -> PipelineResult:
    """Audits a pair of tables, the splits of a data set, or the split of a network."""
    config = with_own_data(config, tracked)
    if config.pairs.train_pairs is None:
        config = config.replace(dataset=config.data.dataset or DEFAULT_DATASET)
        files, fastas, split = _dataset_files(config)
        config = config.replace(split=split)
    else:
        assert config.pairs.test_pairs is not None  # the schema requires both or neither
        files, split = (Path(config.pairs.train_pairs), Path(config.pairs.test_pairs)), "test"
        fastas = [Path(config.pairs.fasta)] if config.pairs.fasta else []
    name = config.data.dataset or data_label(files[1])
    tracked.identify(dataset=name, split=split)
    tracked.log_parameters(logged_parameters(config))
    train, test = (read_pairs(path) for path in files)
    tracked.log_datasets([tracked_dataset(name, "train", train), tracked_dataset(name, split, test)])
    if not fastas:
        logger.warning("no fasta is given: the similarity of the proteins is not measured")
    sequences = {
        accession: sequence for path in fastas for accession, sequence in read_fasta(path).sequences.items()
    }
    audit = audit_tables(train, test, sequences if fastas else None, data_dir=Path(config.data.data_dir))
    path = log_audit(
        audit, tracked, Path(config.output.output_dir) / tracked.run_id, train=train.source, test=test.source
    )
    return PipelineResult(run_id=tracked.run_id, metrics=audit.metrics, outputs={"audit": str(path)})


def _dataset_files(config: AuditConfig) -> tuple[tuple[Path, Path], list[Path], str]:
    """Training and test pairs, FASTA files and name of the audited split."""
    train = prepare(config.data, ("train",)).splits["train"]
    found = available_split(config.data, config.pairs.split)
    return (train.pairs, found.pairs), list(dict.fromkeys([train.fasta, found.fasta])), found.name
