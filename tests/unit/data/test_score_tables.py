"""Tests of tables of scores that other tools gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppi_train.data.pairs import pairs_from_ids
from ppi_train.data.score_tables import logits_of, other_labels, read_scores
from ppi_train.errors import DataError


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "theirs.tsv"
    path.write_text(text)
    return path


BOTH = "protein_a,protein_b,probability,logit\nA,B,0.75,1.1\n"


@pytest.mark.parametrize(
    ("text", "wanted", "kind", "value"),
    [
        ("B\tA\t0.25\n", "auto", "probability", 0.25),
        ("B\tA\t2.5\n", "logit", "logit", 2.5),
        ("B\tA\t1e-30\n", "ranking", "ranking", 1e-30),
        (BOTH, "auto", "logit", 1.1),
        (BOTH, "logit", "logit", 1.1),
        (BOTH, "probability", "probability", 0.75),
        ("y_pred,seq1,seq2\n0.5, A ,B\n", "auto", "probability", 0.5),
    ],
)
def test_the_column_and_what_it_is_taken_as(
    tmp_path: Path, text: str, wanted: str, kind: str, value: float
) -> None:
    table = read_scores(_write(tmp_path, text), wanted)
    assert (table.kind, table.values) == (kind, {("A", "B"): value})


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        ("protein_a\tprotein_b\tlabel\nA\tB\t1\n", "auto", r"no column of scores(?s:.*)labels are no scores"),
        ("A\tB\n", "auto", "no column of scores"),
        ("protein_a,protein_b,logit\nA,B,0.5\n", "probability", "no column of scores"),
        ("protein_a,protein_b,score\n", "auto", "no pairs"),
        ("protein_a,protein_b,score\nA,B,0.5\n,B,0.5\n", "auto", r"no protein_a(?s:.*)line 3"),
        ("A\tB\t1e300\n", "logit", r"1 score is no logit\n(?s:.*)score_type=ranking"),
        ("A\tB\t0.5\nB\tA\t0.6\n", "auto", r"two different scores(?s:.*)line 2"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, wanted: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_scores(_write(tmp_path, text), wanted)


def test_a_missing_name_in_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.parquet"
    columns = {"protein_a": ["A", None], "protein_b": ["B", "C"], "score": [0.1, 0.2]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=r"no protein_a(?s:.*)row 2"):
        read_scores(path)


def test_scores_that_may_be_labels_are_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        read_scores(_write(tmp_path, "A\tB\t1\nA\tC\t0\n"))
    assert "every score is 0 or 1" in caplog.text


def test_the_column_that_is_read_is_not_said_to_be_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        read_scores(_write(tmp_path, "protein_a,protein_b,score,note\nA,B,0.5,x\n"))
    ignored = [message for message in caplog.messages if "ignored columns" in message]
    assert [message.partition("ignored columns: ")[2] for message in ignored] == ["note"]


def test_labels_are_read_as_in_pair_tables(tmp_path: Path) -> None:
    text = "protein_a,protein_b,score,label\nA,B,0.5,1.0\nA,C,0.5,false\nB,C,0.5,\n"
    scores = read_scores(_write(tmp_path, text))
    assert scores.labels == {("A", "B"): 1, ("A", "C"): 0}
    assert other_labels(pairs_from_ids(["B", "A", "B"], ["A", "C", "C"], [0, 0, 1], "made up"), scores) == 1


def test_tiny_probabilities_keep_their_order(tmp_path: Path) -> None:
    path = _write(tmp_path, "A\tB\t1e-300\nA\tC\t1e-30\nA\tD\t0\nA\tE\t1\nA\tF\t0.5\n")
    table = pairs_from_ids("AAAAA", "BCDEF", [0, 1, 0, 1, 1], "made up")
    logits, there = logits_of(table, read_scores(path))
    assert there.all()
    assert np.argsort(logits.astype(np.float32)).tolist() == [2, 0, 1, 4, 3]
    assert logits[4] == 0
