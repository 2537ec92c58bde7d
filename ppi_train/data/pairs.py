"""Tables of protein pairs, with or without labels.

Pairs are unordered and stored as positions in a sorted vocabulary. `pair_files` reads the columns of a file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ppi_train.data.fasta import AMINO_ACIDS, NONSTANDARD
from ppi_train.data.pair_files import COLUMNS, Place, read_columns
from ppi_train.errors import DataError
from ppi_train.io.files import write_file

_WORDS = {"true": "1", "false": "0"}
_RESIDUES = set(AMINO_ACIDS + NONSTANDARD)
# No accession of that length is made of these letters alone.
_SHORTEST_SEQUENCE = 25


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Distinct unordered pairs, in the order in which they first appeared.

    `proteins` are the distinct accessions, sorted; `index` is (n_pairs, 2) int32 into them, each row
    in ascending order; `labels` is (n_pairs,) int8 of 0 and 1, or None; `duplicates` counts the rows
    that repeated an earlier pair; `source` is the path as it was given, for messages.
    """

    proteins: tuple[str, ...]
    index: np.ndarray
    labels: np.ndarray | None
    duplicates: int
    source: str

    def __len__(self) -> int:
        return len(self.index)

    @property
    def positives(self) -> int:
        """Pairs with label 1; 0 for a table without labels."""
        return 0 if self.labels is None else int(self.labels.sum())

    @property
    def summary(self) -> str:
        """Its sizes, for the log."""
        return f"{len(self):,} pairs, {self.positives:,} positive, {len(self.proteins):,} proteins"

    @property
    def required_labels(self) -> np.ndarray:
        """The labels (n_pairs,) int8.

        Raises:
            DataError: there are none.
        """
        if self.labels is None:
            raise DataError("the pairs have no labels", where=self.source, expected="a column `label`")
        return self.labels

    @cached_property
    def digest(self) -> str:
        """sha256 of the pairs and labels.

        It depends neither on the row order nor on the order within a pair.
        """
        order = np.lexsort((self.index[:, 1], self.index[:, 0]))
        found = hashlib.sha256("\n".join(self.proteins).encode())
        found.update(self.index[order].astype("<i4").tobytes())
        found.update(b"-" if self.labels is None else self.labels[order].astype("i1").tobytes())
        return found.hexdigest()

    def named(self) -> dict[str, pa.Array]:
        """The accessions of each pair, as columns `protein_a` and `protein_b`."""
        vocabulary = pa.array(self.proteins, pa.string())
        return {name: vocabulary.take(pa.array(self.index[:, side])) for side, name in enumerate(COLUMNS[:2])}

    def select(self, keep: np.ndarray) -> PairTable:
        """The pairs selected by a mask (n_pairs,) bool, with their own vocabulary."""
        assert keep.shape == (len(self),), f"mask {keep.shape} for {len(self)} pairs"
        used, index = np.unique(self.index[keep], return_inverse=True)
        return PairTable(
            proteins=tuple(self.proteins[position] for position in used),
            index=index.reshape(-1, 2).astype(np.int32),
            labels=None if self.labels is None else self.labels[keep],
            duplicates=0,
            source=self.source,
        )


def pairs_from_ids(
    a: Sequence[str], b: Sequence[str], labels: Sequence[int] | np.ndarray | None, source: str
) -> PairTable:
    """Makes a pair table from two columns of accessions.

    Equal pairs, in either order, are merged.

    Args:
        a: n accessions.
        b: n accessions.
        labels: n labels, 0 or 1; None for no labels.
        source: Named in messages, which count rows from 1.

    Raises:
        DataError: a pair has both labels.
    """
    checked = None if labels is None else np.asarray(labels, np.int8)
    columns = pa.array(a, pa.string()), pa.array(b, pa.string())
    return pair_table(*columns, checked, source, lambda row: f"row {row + 1}")


def read_pairs(
    path: str | Path,
    *,
    labels: Literal["required", "optional", "ignored"] = "required",
    known: Container[str] | None = None,
) -> PairTable:
    """Reads a pair table from TSV, CSV or Parquet.

    The format is recognised by the content, not by the name: tabs, commas, semicolons or blanks between the
    columns; plain, gzip, bzip2 or zstd; lines that begin with `#` and blank lines are skipped. The columns:
    `protein_a`, `protein_b`, `label`, or well-known other names for them, which are logged; with a header
    in any order and possibly among others, without a header in this order. Rows that repeat a pair are
    merged and counted. A label is the number 0 or 1, or true or false.

    Args:
        path: The file.
        labels: Whether a table without labels is refused, and whether its labels are looked at.
        known: Proteins that have a sequence; a first line without any of them, before lines with them, is
            then refused as an unknown header.

    Raises:
        DataError: the file is absent, empty, too large, cut short or not text; with the line: a header with
            unknown names, a wrong number of columns, an empty accession, a wrong label, a pair with both
            labels (both lines).
    """
    columns, place = read_columns(path, known)
    if labels == "required" and "label" not in columns:
        raise DataError(
            "the pair table has no labels",
            where=path,
            got=f"the columns {', '.join(columns)}",
            expected="a column `label` of 0 and 1",
        )
    ends = [_accessions(columns[name], name, path, place) for name in COLUMNS[:2]]
    if not len(ends[0]):
        raise DataError("the pair table has no pairs", where=path, got="a header only")
    refuse_sequences(ends[0], path)
    read = labels != "ignored" and "label" in columns
    return pair_table(
        ends[0], ends[1], _labels(columns["label"], path, place) if read else None, str(path), place
    )


def write_pairs(path: Path, table: PairTable) -> None:
    """Writes a pair table as TSV with a header, or as Parquet.

    The column `label` is left out if there are no labels. The file appears complete or not at all.
    """
    columns = table.named()
    if table.labels is not None:
        columns["label"] = pa.array(table.labels, pa.int8())
    rows = pa.table(columns)
    if path.suffix == ".parquet":
        sink = io.BytesIO()
        pq.write_table(rows, sink, compression="zstd")
        write_file(path, sink.getvalue())
        return
    try:
        text = _tsv(rows, "none")
    except pa.ArrowInvalid:  # an accession with a tab or a quote in it
        text = _tsv(rows, "needed")
    write_file(path, ("\t".join(columns) + "\n").encode() + text)


def _tsv(rows: pa.Table, quoting: str) -> bytes:
    sink = io.BytesIO()
    options = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style=quoting)
    pa_csv.write_csv(rows, sink, options)
    return sink.getvalue()


def pair_table(a: pa.Array, b: pa.Array, labels: np.ndarray | None, source: str, place: Place) -> PairTable:
    """Makes a pair table from columns of accessions; see `pairs_from_ids`."""
    coded = pa.concat_arrays([a, b]).dictionary_encode()
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    ends = rank[coded.indices.to_numpy(zero_copy_only=False)].reshape(2, -1)
    keys = ends.min(axis=0) * max(len(names), 1) + ends.max(axis=0)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    proteins = tuple(names[position] for position in order)
    if labels is not None:
        _refuse_conflicts(labels, first[group], proteins, ends, source, place)
    kept = np.sort(first)
    return PairTable(
        proteins=proteins,
        index=np.sort(ends[:, kept].T, axis=1).astype(np.int32).reshape(-1, 2),
        labels=None if labels is None else labels[kept],
        duplicates=len(keys) - len(kept),
        source=source,
    )


def _refuse_conflicts(
    labels: np.ndarray,
    first: np.ndarray,
    proteins: Sequence[str],
    ends: np.ndarray,
    source: str,
    place: Place,
) -> None:
    """Refuses a pair with both labels.

    Args:
        first: For each row, the first row of the same pair.
    """
    against = np.flatnonzero(labels != labels[first])
    if not len(against):
        return
    row = int(against[0])
    pairs = len(np.unique(first[against]))
    a, b = (proteins[end] for end in ends[:, first[row]])
    raise DataError(
        f"{pairs} {'pair has' if pairs == 1 else 'pairs have'} both labels",
        where=f"{source}, {place(int(first[row]))} and {place(row)}",
        got=f"{a} and {b} with label {labels[first[row]]} and with label {labels[row]}",
        expected="one label a pair, in either order of its proteins",
        remedy="remove one of the two rows",
    )


def _accessions(column: pa.Array, name: str, path: str | Path, place: Place) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(column).fill_null("")
    empty = pc.index(trimmed, "").as_py()
    if empty >= 0:
        raise DataError(
            f"a pair has no {name}",
            where=f"{path}, {place(empty)}",
            got="an empty value",
            expected="an accession",
        )
    return trimmed


def refuse_sequences(ends: pa.Array, path: str | Path) -> None:
    """Refuses a table that has sequences where accessions belong."""
    # The first row may be a header that is not known.
    names = ends[1:21].to_pylist()
    if names and all(len(name) >= _SHORTEST_SEQUENCE and set(name) <= _RESIDUES for name in names):
        raise DataError(
            "the pair table holds sequences, not accessions",
            where=path,
            got=f"{names[0][:30]}...",
            expected="the proteins' accessions",
            remedy="give each sequence a name, in a FASTA, and write these names into the table",
        )


def label_of(text: str) -> int:
    """The label that a cell says, or -1."""
    try:
        number = _WORDS.get(text.strip().lower(), text)
        return int(float(number)) if float(number) in (0.0, 1.0) else -1
    except ValueError:
        return -1


def _labels(column: pa.Array, path: str | Path, place: Place) -> np.ndarray:
    coded = column.fill_null("").dictionary_encode()
    values = [label_of(text) for text in coded.dictionary.to_pylist()]
    indices = coded.indices.to_numpy(zero_copy_only=False)
    labels: np.ndarray = np.array(values, np.int8)[indices]
    bad = np.flatnonzero(labels < 0)
    if len(bad):
        row = int(bad[0])
        raise DataError(
            "a label is neither 0 nor 1" + (f" ({len(bad):,} rows)" if len(bad) > 1 else ""),
            where=f"{path}, {place(row)}",
            got=repr(coded.dictionary[int(indices[row])].as_py()),
            expected="0 or 1",
        )
    return labels
