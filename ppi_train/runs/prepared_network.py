"""A downloaded network as ordinary tables of labelled pairs, made once and found again.

They lie in `data_dir/networks/<digest>` with the sequences of their proteins, what each name of the network
stands for, and `network.json`, which says what they were made from and how. The digest is that of the input
files and options, so that equal inputs have equal tables.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.data.fasta import write_fasta
from ppi_train.data.identifiers import write_mapping
from ppi_train.data.options import NetworkDivisionOptions, SourceNetworkOptions
from ppi_train.data.pairs import PairTable, write_pairs
from ppi_train.data.splits import GIVEN, SIDES, DrawnSplit, SplitHelp, SplitPlan
from ppi_train.errors import DataError
from ppi_train.io.files import file_digest, reading, write_file
from ppi_train.runs.network_source import NetworkSource, read_source
from ppi_train.runs.network_split import divide_network, small_sides

logger = logging.getLogger(__name__)

# Increased whenever the same inputs give other tables, so that prepared copies are made again.
VERSION = 1
RECORD = "network.json"
IDENTIFIERS = "identifiers.tsv"
SEQUENCES = "sequences.fasta"
FOLDER = "networks"
DEFAULT_NEGATIVES = "degree_matched"

MIN_EDGES = 100
"""Fewer edges are refused: what is trained and measured on them says nothing."""


@dataclass(frozen=True, kw_only=True)
class PreparedNetwork:
    """The folder of prepared tables, and what `network.json` says of them."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def lines(self) -> list[str]:
        """What was read, left out, divided and drawn, for the log."""
        return list(self.record["lines"])

    def table(self, side: str) -> str:
        """The path of the labelled pairs of a side."""
        return str(self.folder / f"{side}.tsv")

    @property
    def fasta(self) -> str:
        """The path of their sequences."""
        return str(self.folder / SEQUENCES)


def prepare_network(
    options: SourceNetworkOptions,
    division: NetworkDivisionOptions,
    fastas: Sequence[Path],
    data_dir: Path,
) -> PreparedNetwork:
    """Reads a network, divides it and draws negatives, unless that was done before.

    Args:
        options: The network and what is taken of it.
        division: How it is divided.
        fastas: The files of its sequences.
        data_dir: Where prepared tables are kept.

    Raises:
        DataError: a file is wrong, names and sequences do not fit, or the network is too small to be divided.
    """
    recipe = _recipe(options, division, fastas)
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    folder = data_dir / FOLDER / digest[:16]
    found = find_prepared(folder)
    if found:
        logger.info("prepared tables found: %s", folder)
        return found
    source = read_source(options, fastas)
    _refuse_small(source)
    plan = plan_of(division, source)
    split = divide_network(
        source.mapped.pairs,
        plan,
        help_of(source),
        sequences=source.proteins.sequences.sequences,
        max_identity=division.max_identity,
    )
    lines = [*source.lines(), *split_lines(source, plan, split, max_identity=division.max_identity)]
    warnings = small_sides(split, plan, len(source.mapped.pairs), option="split_method")
    record = {
        "recipe": recipe,
        "layout": source.network.layout,
        "counts": dict(source.network.counts),
        "lines": lines,
        "warnings": warnings,
    }
    proteins = {name for table in split.tables.values() for name in table.proteins}
    known = source.proteins.sequences.sequences
    with new_folder(folder) as made:
        write_mapping(made / IDENTIFIERS, source.mapping)
        write_fasta(made / SEQUENCES, {name: known[name] for name in sorted(proteins)})
        write_tables(made, split.tables, record)
    ...
