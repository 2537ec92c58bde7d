#!/usr/bin/env bash
# A Parquet file that DuckDB wrote in format version 2, read by pyarrow with `read_dictionary`.
#
# One would guess: `read_dictionary` only says how pyarrow gives a text column back, so that any file which
# `read_table` reads is read with it as well.
# What happens: the same valid file is read without it, and refused with it, by an OSError that says "Not yet
# implemented". It looks like a damaged disk or file to a reader that takes OSError for that. Columns of the
# encoding DELTA_LENGTH_BYTE_ARRAY are concerned; a reader must look at the chunk's encodings first.
#
# Seen with duckdb 2.0.1 and pyarrow 25.0.1 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet duckdb==2.0.1 pyarrow==25.0.1
venv/bin/python - <<'PY'
import duckdb
import pyarrow.parquet as pq

duckdb.sql(
    "copy (select 'P' || i as protein_a, 'P' || i * 7 as protein_b from range(3000) t(i)) "
    "to 'pairs.parquet' (format parquet, parquet_version 'V2')"
)
encodings = pq.ParquetFile("pairs.parquet").metadata.row_group(0).column(0).encodings
print("encodings:", encodings)
assert encodings == ("DELTA_LENGTH_BYTE_ARRAY",)
print("without read_dictionary:", pq.read_table("pairs.parquet").num_rows, "rows")
try:
    pq.read_table("pairs.parquet", read_dictionary=["protein_a"])
except OSError as error:
    print("with read_dictionary:", type(error).__name__, error)
    assert "Not yet implemented" in str(error)
else:
    raise SystemExit("changed: pyarrow reads this encoding into a dictionary now")
PY
