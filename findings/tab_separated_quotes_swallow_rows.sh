#!/usr/bin/env bash
# A tab-separated table with a quote at the beginning of two fields, read by pandas and by pyarrow.
#
# One would guess: the tables of biological databases (BioGRID's TAB3, PSI-MITAB) have no quoting, six lines are
# six rows, and a reader that is told of no line ends inside values (pyarrow: newlines_in_values=False, the
# default) does not return a value with a line end.
# What happens: both take the quote as the beginning of a quoted value, which ends at the next quote, two lines
# below. Each returns four rows out of six, without an error or a warning; the two interactions between them
# are inside a value. The numbers of columns agree, so nothing shows it but the number of rows. Free text by
# curators, such as a column of qualifications, has such quotes.
# What to do: quoting=csv.QUOTE_NONE, or quote_char=False.
#
# Seen with pandas 3.0.0 and pyarrow 25.0.0 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet pandas==3.0.0 pyarrow==25.0.0
printf '%s\n' $'id\ta\tb\tqualifications\tsource' \
  $'1\tTP53\tMDM2\t-\tBIOGRID' \
  $'2\tTP53\tEP300\t-\tBIOGRID' \
  $'3\tTP53\tBRCA1\t"prey\tBIOGRID' \
  $'4\tTP53\tATM\t-\tBIOGRID' \
  $'5\tTP53\tCHEK2\t"bait\tBIOGRID' \
  $'6\tTP53\tCDK2\t-\tBIOGRID' > network.tsv
venv/bin/python - <<'PY'
import csv

import pandas
from pyarrow.csv import ParseOptions, read_csv

by_pandas = pandas.read_csv("network.tsv", sep="\t")
by_pyarrow = read_csv("network.tsv", parse_options=ParseOptions(delimiter="\t", newlines_in_values=False))
print("pandas:", len(by_pandas), "rows of 6; pyarrow:", by_pyarrow.num_rows, "rows of 6")
print("a value of pyarrow's:", repr(by_pyarrow["qualifications"][2].as_py()))
assert len(by_pandas) == by_pyarrow.num_rows == 4, "changed"
assert "\n4\tTP53\tATM" in by_pyarrow["qualifications"][2].as_py(), "changed"

assert len(pandas.read_csv("network.tsv", sep="\t", quoting=csv.QUOTE_NONE)) == 6
assert read_csv("network.tsv", parse_options=ParseOptions(delimiter="\t", quote_char=False)).num_rows == 6
print("without quoting: 6 rows")
PY
