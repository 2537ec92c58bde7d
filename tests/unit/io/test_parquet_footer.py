"""Tests of the number of values that a Parquet footer claims."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppi_train.io.parquet_footer import largest_columns

TABLE = pa.table(
    {
        "name": [f"P{number}" for number in range(70)],
        "flag": [True, False] * 35,
        "numbers": [[0.5] * number for number in range(70)],
        "record": [{"a": 1, "b": None}] * 70,
    }
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 3},
        {"compression": "zstd", "write_page_index": True, "write_page_checksum": True},
        {"version": "1.0", "use_dictionary": False, "store_schema": False},
        {"sorting_columns": [pq.SortingColumn(0)], "data_page_version": "2.0"},
    ],
)
def test_the_largest_column_is_as_pyarrow_reads_it(options: dict[str, Any]) -> None:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, **options)
    metadata = pq.read_metadata(sink)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    expected = [max(group.column(i).num_values for i in range(group.num_columns)) for group in groups]
    assert largest_columns(sink.getvalue()) == expected


def test_a_cut_footer_is_an_error() -> None:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    whole = sink.getvalue()
    size = int.from_bytes(whole[-8:-4], "little")
    cut = whole[-8 - size : -100] + (size - 92).to_bytes(4, "little") + b"PAR1"
    with pytest.raises((ValueError, IndexError)):
        largest_columns(cut)
