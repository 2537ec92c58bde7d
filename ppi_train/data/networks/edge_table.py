"""Tables of pairs: two columns, edge lists with a header, and the tables of TUnA, D-SCRIPT and PRING.

HuRI is two columns of Ensembl genes, without a header. A third column without a header is a label if it has
only 0 and 1, else a score. `pair_files` parses them, as it does the tables that a model is trained on.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppi_train.data.networks.base import Network, NetworkFilter
from ppi_train.data.networks.collect import DISPUTED, Collector, Interactor
from ppi_train.data.networks.table import Source, by_value
from ppi_train.data.pair_columns import COLUMNS, known_columns
from ppi_train.data.pair_files import read_columns
from ppi_train.data.pair_text import Place, text_columns
from ppi_train.data.pairs import accessions, label_of, pair_table, refuse_sequences
from ppi_train.errors import DataError, counted

_PARQUET = b"PAR1"
# Begins XML and JSON, but no name.
_MARKUP = ("<", "{", "[")
# Python's CSV reader accepts no field above 131,072 letters.
_LONGEST_ROW = 100_000
_DELIMITERS = ("\t", ",", ";")
SCORES = ("score", "weight", "confidence", "probability", "combined_score")
"""Columns, and attributes of edges, that are taken as scores unless another one is named."""


def recognises(source: Source) -> bool:
    """Whether the first row has two or three columns, or names two columns of proteins."""
    if source.first.startswith(_PARQUET) or _has_marked_header(source):
        return True
    row = next((line for line in source.head if not line.startswith("#")), None)
    if row is None or row.startswith(_MARKUP):
        return False
    fields = _fields(row)
    return len(fields) in (2, 3) or bool(known_columns(fields))


def _has_marked_header(source: Source) -> bool:
    """Whether the first line is a header with `#` before it, as in what string-db.org exports."""
    first = source.head[0]
    return first.startswith("#") and bool(known_columns(_fields(first[1:])))


def _fields(row: str) -> list[str]:
    delimiter = next((mark for mark in _DELIMITERS if mark in row), None)
    return next(csv.reader([row[:_LONGEST_ROW]], delimiter=delimiter)) if delimiter else row.split()


def read(source: Source, wanted: NetworkFilter) -> Network:
    """Reads a table of pairs; see `read_network`."""
    scores = SCORES if wanted.score_column is None else (wanted.score_column,)
    if source.first.startswith(_PARQUET):
        columns, place = read_columns(source.path, None, scores)
    else:
        data = source.whole()
        if _has_marked_header(source):
            data = data.lstrip().removeprefix(b"#")
        columns, place = text_columns(source.path, data, scores=scores)
    measures = _measures(columns, wanted, source, place)
    layout = "table of pairs" if measures else "two columns"
    wanted.refuse_others(("min_score", "score_column") if "score" in measures else (), layout, source.path)
    collector = Collector(layout, source.path, wanted)
    ends = [accessions(columns[name], name, source.path, place) for name in COLUMNS[:2]]
    refuse_sequences(ends[0], source.path)
    numbers = [collector.numbers(end, lambda name, _: Interactor(name)) for end in ends]
    rows = collector.rows(len(ends[0]))
    if wanted.min_score is not None:
        rows.drop(measures["score"] < wanted.min_score, "below min_score")
    collector.add(rows, np.stack(numbers), **measures)
    network = collector.network()
    if DISPUTED in network.counts:
        labels = (~measures["negative"]).astype(np.int8)
        pair_table(ends[0], ends[1], labels, source.path, place)  # raises, and names both rows
    return network


def _measures(
    columns: Mapping[str, pa.Array], wanted: NetworkFilter, source: Source, place: Place
) -> dict[str, np.ndarray]:
    """What the table says of its pairs: `score`, `negative`, or both, (n,) each."""
    found = {}
    if "score" in columns:
        found["score"] = _numbers(columns["score"], source, place)
    elif wanted.score_column is not None:
        raise DataError(
            f"the network has no column {wanted.score_column}",
            where=source.path,
            expected="the name of a column of scores, in a header",
        )
    if "label" in columns and pc.any(pc.not_equal(columns["label"], "")).as_py():
        labels = by_value(columns["label"].fill_null("").dictionary_encode(), label_of, np.int8)
        if "score" not in found and (wanted.min_score is not None or (labels < 0).any()):
            found["score"] = _numbers(columns["label"], source, place)
        elif (labels >= 0).all():
            found["negative"] = labels == 0
    return found


def _numbers(column: pa.Array, source: Source, place: Place) -> np.ndarray:
    """A column of scores (n,) float32."""
    numbers = by_value(column.fill_null("").dictionary_encode(), _number, np.float32)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"a score is not a number ({counted(len(wrong), 'row')})",
            where=f"{source.path}, {place(row)}",
            got=repr(column[row].as_py()),
            expected="a number",
        )
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
