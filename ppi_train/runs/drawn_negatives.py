"""Negatives for a user's own tables of interactions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.data.negatives import labelled_pairs, negatives_like
from ppi_train.data.options import NetworkDivisionOptions, SourceNetworkOptions
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.errors import DataError
from ppi_train.runs.network_source import Proteins
from ppi_train.runs.prepared_tables import NewTables, PreparedTables, input_digests, prepare_tables

logger = logging.getLogger(__name__)


def with_drawn_negatives(
    paths: Mapping[str, str],
    options: SourceNetworkOptions,
    division: NetworkDivisionOptions,
    fastas: Sequence[Path],
    data_dir: Path,
) -> PreparedTables | None:
    """Tables with negatives in addition to the interactions of own ones, made unless they are there.

    Args:
        paths: The table of each side.
        options: Say which further networks are known, and how their names are mapped.
        division: Says which negatives are drawn, how many, and by which seed.
        fastas: The sequences; if there are none, a name is a protein.
        data_dir: Where prepared tables are kept.

    Returns:
        None if every table has negatives already.

    Raises:
        DataError: a file is wrong, a protein has no sequence, or there are too few pairs to draw.
    """
    tables = {side: read_pairs(path, labels="optional") for side, path in paths.items()}
    alone = [side for side, table in tables.items() if lacks_negatives(table)]
    if not alone:
        logger.warning("negatives=%s has no effect: every table has pairs of label 0", division.negatives)
        return None
    drawn = {name: vars(division)[name] for name in ("negatives", "negative_ratio", "split_seed")}
    recipe = {
        "tables": dict(zip(paths, input_digests(paths.values(), "pair table"), strict=True)),
        "known": input_digests(options.known or (), "known network"),
        "id_map": input_digests(options.id_map or (), "id_map"),
        "fasta": input_digests(fastas, "FASTA"),
        "options": {**drawn, "ids": options.ids},
    }
    return prepare_tables(recipe, data_dir, lambda: _new_tables(tables, alone, options, division, fastas))


def lacks_negatives(table: PairTable) -> bool:
    """Whether all pairs of a table interact."""
    return table.labels is None or bool(table.labels.all())


def _new_tables(
    tables: Mapping[str, PairTable],
    alone: Sequence[str],
    options: SourceNetworkOptions,
    division: NetworkDivisionOptions,
    fastas: Sequence[Path],
) -> NewTables:
    proteins = Proteins.read(fastas, options) if fastas else None
    _refuse_unmapped(options, fastas)
    sequences: Mapping[str, str] = proteins.sequences.sequences if proteins else {}
    numbered = _Numbered.of(tables, sequences)
    organisms = proteins.organisms_of(numbered.accessions, {}) if proteins else None
    further = proteins.known_pairs(numbered.accessions) if proteins else np.empty((0, 2), np.int64)
    known = np.concatenate([*numbered.ends.values(), further])
    assert division.negatives is not None  # the caller draws for a reason
    made: dict[str, PairTable] = {}
    for number, (side, table) in enumerate(tables.items()):
        if side not in alone:
            made[side] = table
            continue
        positives = numbered.ends[side]
        rng = np.random.default_rng([division.split_seed, number])
        count = round(division.negative_ratio * len(positives))
        try:
            drawn = negatives_like(
                division.negatives, positives, forbidden=known, count=count, rng=rng, organisms=organisms
            )
        except DataError as error:
            raise error.at(table.source) from error
        known = np.concatenate([known, drawn])
        made[side] = labelled_pairs(numbered.names, positives, drawn, rng, table.source)
    across = "" if organisms is None else ", between the organisms that interactions are between"
    lines = [
        f"no negatives in {' and '.join(alone)}: drawing {division.negative_ratio:g} to 1, "
        f"{division.negatives.replace('_', '-')}, seed {division.split_seed}{across}; never a pair of any "
        f"table, nor one of {len(further):,} further known pairs",
        *(f"{side}: {table.summary}" for side, table in made.items()),
    ]
    # The sequences stay where they are.
    sources = {side: table.source for side, table in tables.items()}
    facts = {"drawn_for": list(alone), "drawn_from": sources}
    return NewTables(tables=made, sequences={}, mapping=None, lines=lines, warnings=[], facts=facts)


def _refuse_unmapped(options: SourceNetworkOptions, fastas: Sequence[Path]) -> None:
    if options.known and not fastas:
        raise DataError(
            "the names of a known network cannot be mapped",
            where=", ".join(options.known),
            got="no FASTA",
            expected="the sequences of the proteins",
            remedy="give fasta",
        )


@dataclass(frozen=True, kw_only=True)
class _Numbered:
    """The pairs of several tables in one numbering of their proteins.

    Names of one sequence are one protein. `accessions` are sorted, the first ones of their sequences in the
    FASTA; `names` are how the tables call them, the first where there are several; `ends` has (n, 2) numbers
    by table, of distinct pairs of two proteins.
    """

    accessions: list[str]
    names: list[str]
    ends: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, tables: Mapping[str, PairTable], sequences: Mapping[str, str]) -> _Numbered:
        """Numbers the proteins; one without a sequence is its name."""
        first_of: dict[str, str] = {}
        for accession in sorted(sequences):
            first_of.setdefault(sequences[accession], accession)
        names_of: dict[str, list[str]] = {}
        for name in sorted({name for table in tables.values() for name in table.proteins}):
            accession = first_of[sequences[name]] if name in sequences else name
            names_of.setdefault(accession, []).append(name)
        accessions = sorted(names_of)
        number = {name: place for place, key in enumerate(accessions) for name in names_of[key]}
        return cls(
            accessions=accessions,
            names=[names_of[accession][0] for accession in accessions],
            ends={side: _distinct(table, number) for side, table in tables.items()},
        )


def _distinct(table: PairTable, number: Mapping[str, int]) -> np.ndarray:
    ends = np.sort(np.array([number[name] for name in table.proteins])[table.index], axis=1)
    return np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
