"""Identity of proteins: one sequence, or one name, is one protein.

Databases give one sequence many names, so that names alone hide what two tables have in common.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.data.fasta import sequence_digest
from ppi_train.errors import DataError
from ppi_train.io.files import write_file
from ppi_train.io.parquet import BROKEN, open_parquet

_COLUMNS = ("accession", "sequence_digest")


def digests_of(sequences: Mapping[str, str]) -> dict[str, str]:
    """The digest of each sequence, by accession."""
    return {accession: sequence_digest(sequence) for accession, sequence in sequences.items()}


def protein_numbers(names: Iterable[str], known: Collection[Mapping[str, str]]) -> dict[str, int]:
    """Numbers proteins, so that names of one sequence have one number.

    Args:
        names: Accessions; equal ones are one protein, even with two sequences.
        known: Sequence digests by accession, of any of the names and of others; one mapping for each source,
            since two sources may use one name for two sequences.
    """
    position = {name: place for place, name in enumerate(sorted(set(names)))}
    node_of: dict[str, int] = {}
    # Disjoint sets of names and sequences; scipy's take a quarter of a second to import.
    parent = list(range(len(position)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for digests in known:
        for name, digest in digests.items():
            if name in position:
                node = node_of.setdefault(digest, len(parent))
                if node == len(parent):
                    parent.append(node)
                parent[root(node)] = root(position[name])
    numbers: dict[int, int] = {}
    return {name: numbers.setdefault(root(place), len(numbers)) for name, place in position.items()}


def with_two_sequences(names: Collection[str], known: Collection[Mapping[str, str]]) -> list[str]:
    """The names that the sources use for different sequences."""
    return [name for name in names if len({digests[name] for digests in known if name in digests}) > 1]


def without_sequence(names: Iterable[str], known: Collection[Mapping[str, str]]) -> list[str]:
    """The names whose sequence no source knows."""
    return [name for name in names if not any(name in digests for digests in known)]


def digest_of_proteins(digests: Mapping[str, str]) -> str:
    """sha256 of the sorted lines `accession<TAB>sequence digest`."""
    lines = "".join(f"{accession}\t{digest}\n" for accession, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_proteins(path: Path, digests: Mapping[str, str]) -> None:
    """Writes sequence digests by accession as Parquet, completely or not at all."""
    columns = (list(digests), list(digests.values()))
    sink = io.BytesIO()
    table = {name: pa.array(values, pa.string()) for name, values in zip(_COLUMNS, columns, strict=True)}
    pq.write_table(pa.table(table), sink, compression="zstd")
    write_file(path, sink.getvalue())


def read_proteins(path: Path) -> dict[str, str]:
    """Reads what `write_proteins` wrote.

    Raises:
        DataError: the file is damaged, or not such a table.
    """
    try:
        with open_parquet(path) as file:
            table = file.read(columns=list(_COLUMNS))
        names, digests = (table.column(name).cast(pa.string()).to_pylist() for name in _COLUMNS)
    except BROKEN as error:
        raise DataError("the table of proteins cannot be read", where=path, got=str(error)) from None
    return dict(zip(names, digests, strict=True))
