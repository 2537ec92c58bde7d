"""Tables of protein pairs, with or without labels.

Pairs are unordered and stored as positions in a sorted vocabulary. `pair_files` reads the columns of a file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ppi_train.data.fasta import AMINO_ACIDS, NONSTANDARD
from ppi_train.data.pair_columns import COLUMNS
from ppi_train.data.pair_files import read_columns
from ppi_train.data.pair_keys import repeated_rows
from ppi_train.data.pair_text import Place
from ppi_train.errors import DataError
from ppi_train.io.files import replacing, write_file
from ppi_train.io.shared_arrays import shared_array

_WORDS = {"true": "1", "false": "0"}
_RESIDUES = set(AMINO_ACIDS + NONSTANDARD)
# No accession of that length is made of these letters alone.
_SHORTEST_SEQUENCE = 25
# Pairs that are converted at once, and a row group of the files that are written.
_PART = 1 << 20


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
        found = hashlib.sha256("\n".join(self.proteins).encode())
        # A number for each pair and its label, which sort in place: 8 bytes a pair.
        keys = self.index[:, 0] * np.int64(len(self.proteins)) + self.index[:, 1]
        keys = keys * 2 + (0 if self.labels is None else self.labels)
        keys.sort()
        for part in _parts(keys):
            found.update(np.stack(np.divmod(part >> 1, len(self.proteins)), axis=1).astype("<i4").tobytes())
        for part in _parts(keys):
            found.update(b"" if self.labels is None else (part & 1).astype("i1").tobytes())
        found.update(b"-" if self.labels is None else b"")
        return found.hexdigest()

    def named(self, rows: slice = slice(None)) -> dict[str, pa.Array]:
        """The accessions of each pair, as columns `protein_a` and `protein_b`."""
        vocabulary, index = pa.array(self.proteins, pa.string()), self.index[rows]
        return {name: vocabulary.take(pa.array(index[:, side])) for side, name in enumerate(COLUMNS[:2])}

    def columns(self, rows: slice = slice(None)) -> pa.Table:
        """The pairs as a table of `protein_a`, `protein_b`, and `label` if there are labels."""
        columns = self.named(rows)
        if self.labels is not None:
            columns["label"] = pa.array(self.labels[rows], pa.int8())
        return pa.table(columns)

    def mapped(self, path: Path) -> PairTable:
        """The table with its numbers in files that the processes of a machine share.

        Args:
            path: Begins the names of the files; see `shared_array`.
        """
        index = shared_array(path.with_name(f"{path.name}-index.npy"), lambda: self.index)
        if self.labels is None:
            return replace(self, index=index)
        given = self.labels
        return replace(
            self, index=index, labels=shared_array(path.with_name(f"{path.name}-labels.npy"), lambda: given)
        )

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


def _parts(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[start : start + _PART] for start in range(0, len(array), _PART))


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
    columns = dict(columns)
    if labels == "required" and "label" not in columns:
        raise DataError(
            "the pair table has no labels",
            where=path,
            got=f"the columns {', '.join(columns)}",
            expected="a column `label` of 0 and 1",
            remedy="add it; from interactions only, train_only and full_pipeline draw negatives with "
            "negatives=degree_matched",
        )
    ends = [accessions(columns.pop(name), name, path, place) for name in COLUMNS[:2]]
    if not len(ends[0]):
        raise DataError("the pair table has no pairs", where=path, got="a header only")
    refuse_sequences(ends[0], path)
    written = columns.pop("label", None)
    read = None if written is None or labels == "ignored" else _labels(written, path, place)
    del written
    return pair_table(ends.pop(0), ends.pop(0), read, str(path), place)


def write_pairs(path: Path, table: PairTable) -> None:
    """Writes a pair table as TSV with a header, or as Parquet.

    The column `label` is left out if there are no labels. The file appears complete or not at all.
    """
    if path.suffix != ".parquet":
        write_file(path, tsv_bytes(table.columns()))
        return
    schema = table.columns(slice(0)).schema
    with replacing(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for start in range(0, max(len(table), 1), _PART):
            writer.write_table(table.columns(slice(start, start + _PART)))


def tsv_bytes(rows: pa.Table) -> bytes:
    """A table as TSV with a header, with quotes only if a value has a tab or a quote in it."""
    header = ("\t".join(rows.column_names) + "\n").encode()
    try:
        return header + _tsv(rows, "none")
    except pa.ArrowInvalid:
        return header + _tsv(rows, "needed")


def _tsv(rows: pa.Table, quoting: str) -> bytes:
    sink = io.BytesIO()
    options = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style=quoting)
    pa_csv.write_csv(rows, sink, options)
    return sink.getvalue()


def pair_table(a: pa.Array, b: pa.Array, labels: np.ndarray | None, source: str, place: Place) -> PairTable:
    """Makes a pair table from columns of accessions; see `pairs_from_ids`."""
    proteins, index = _numbered(a.dictionary_encode(), b.dictionary_encode())
    del a, b  # `read_pairs` has given them up too
    keys = index[:, 0] * np.int64(len(proteins))
    keys += index[:, 1]
    repeated, first = repeated_rows(keys, len(proteins) ** 2)
    del keys
    if len(repeated):
        if labels is not None:
            _refuse_conflicts(labels, repeated, first, (proteins, index), source, place)
        kept = np.ones(len(index), bool)
        kept[repeated] = False
        index, labels = index[kept], None if labels is None else labels[kept]
    return PairTable(proteins=proteins, index=index, labels=labels, duplicates=len(repeated), source=source)


def _numbered(a: pa.DictionaryArray, b: pa.DictionaryArray) -> tuple[tuple[str, ...], np.ndarray]:
    """The sorted names of two columns, and (n, 2) int32 positions among them, each row in ascending order."""
    coded = pa.concat_arrays([a.dictionary, b.dictionary]).dictionary_encode()
    codes = coded.indices.to_numpy()
    columns = [side.indices.to_numpy() for side in (a, b)]
    numbers = codes[: len(a.dictionary)], codes[len(a.dictionary) :]
    used = np.zeros(len(coded.dictionary), bool)
    for of_name, column in zip(numbers, columns, strict=True):
        met = np.zeros(len(of_name), bool)
        met[column] = True
        used[of_name[met]] = True
    names = coded.dictionary.to_pylist()
    order = sorted(np.flatnonzero(used).tolist(), key=names.__getitem__)
    rank = np.zeros(len(names), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    index = np.empty((len(a), 2), np.int32)
    of_first, of_second = (rank[of_name] for of_name in numbers)
    for start in range(0, len(a), _PART):
        part = slice(start, start + _PART)
        ends = of_first[columns[0][part]], of_second[columns[1][part]]
        np.minimum(*ends, out=index[part, 0])
        np.maximum(*ends, out=index[part, 1])
    return tuple(names[position] for position in order), index


def _refuse_conflicts(
    labels: np.ndarray,
    repeated: np.ndarray,
    first: np.ndarray,
    pairs: tuple[Sequence[str], np.ndarray],
    source: str,
    place: Place,
) -> None:
    """Refuses a pair with both labels.

    Args:
        labels: (n,) of all rows.
        repeated: The rows that repeat a pair, ascending.
        first: The first row of each of these pairs.
        pairs: The names, and (n, 2) positions among them.
    """
    against = np.flatnonzero(labels[repeated] != labels[first])
    if not len(against):
        return
    row, before = int(repeated[against[0]]), int(first[against[0]])
    count = len(np.unique(first[against]))
    a, b = (pairs[0][end] for end in pairs[1][before])
    raise DataError(
        f"{count} {'pair has' if count == 1 else 'pairs have'} both labels",
        where=f"{source}, {place(before)} and {place(row)}",
        got=f"{a} and {b} with label {labels[before]} and with label {labels[row]}",
        expected="one label a pair, in either order of its proteins",
        remedy="remove one of the two rows",
    )


def accessions(column: pa.Array, name: str, path: str | Path, place: Place) -> pa.DictionaryArray:
    """The names of a column without blanks around them; an empty one is refused.

    A name may be in the dictionary more than once.
    """
    coded = column.dictionary_encode()
    trimmed = pc.utf8_trim_whitespace(coded.dictionary).fill_null("")
    named = pa.DictionaryArray.from_arrays(coded.indices, trimmed)
    if coded.null_count or pc.index(trimmed, "").as_py() >= 0:
        empty = pc.index(named.dictionary_decode().fill_null(""), "").as_py()
        if empty >= 0:
            raise DataError(
                f"a pair has no {name}",
                where=f"{path}, {place(empty)}",
                got="an empty value",
                expected="an accession",
            )
    return named


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
    coded = (column.fill_null("") if column.null_count else column).dictionary_encode()
    values = [label_of(text) for text in coded.dictionary.to_pylist()]
    indices = coded.indices.to_numpy()
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
