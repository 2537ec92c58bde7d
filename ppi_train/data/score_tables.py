"""Scores that another tool has given to pairs of proteins."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppi_train.data.pair_files import read_columns
from ppi_train.data.pair_text import Place
from ppi_train.data.pairs import PairTable, accessions, label_of, refuse_sequences
from ppi_train.errors import DataError
from ppi_train.io.files import file_digest

logger = logging.getLogger(__name__)

# Names of a column of scores, the most exact first.
COLUMNS = ("logit", "probability", "prob", "score", "scores", "prediction", "predictions", "pred", "y_pred")
# The logit of the probabilities 0 and 1: beyond that of any float64 between, which is -745 to 37.
_CERTAIN = 750.0
# Logits are kept as float32; what comes near its end is no logit.
_LARGEST_LOGIT = 1e30


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The scores of a file.

    Attributes:
        values: The score of each pair, by both names in sorted order.
        labels: The labels of the file, where it has some that are 0 or 1.
        kind: `probability`, `logit`, or `ranking` for scores that only order the pairs.
        source: The path.
        digest: sha256 of the file.
    """

    values: Mapping[tuple[str, str], float]
    labels: Mapping[tuple[str, str], int]
    kind: str
    source: str
    digest: str


def read_scores(path: str | Path, kind: str = "auto") -> ScoreTable:
    """Reads a table of pairs with a column of scores.

    That is a table with a header, whose column of scores has one of the names `COLUMNS`, or a table of
    three columns without a header, as D-SCRIPT writes its predictions.

    Args:
        path: TSV, CSV or Parquet.
        kind: One of `SCORE_KINDS`; `auto` takes a column `logit` as logits, and others as probabilities.

    Raises:
        DataError: there are no pairs or no scores, a name is empty, a score is no finite number, or one
            outside 0 and 1 is to be a probability; or a pair has two different scores.
    """
    columns, place = read_columns(path, None, ("logit",) if kind in ("auto", "logit") else ())
    if "score" in columns:
        kind = "logit"
    else:
        kind = "probability" if kind == "auto" else kind
        wanted = COLUMNS[1:] if kind == "probability" else COLUMNS
        columns, place = read_columns(path, None, wanted, third="score")
    if "score" not in columns:
        raise DataError(
            "the table has no column of scores",
            where=path,
            got=f"the columns {', '.join(columns)}",
            expected=f"one of the columns {', '.join(COLUMNS)}",
            remedy="rename the column of the scores; labels are no scores" if "label" in columns else None,
        )
    ends = [accessions(columns[name], name, path, place) for name in ("protein_a", "protein_b")]
    if not len(ends[0]):
        raise DataError("the table of scores has no pairs", where=path, got="a header only")
    refuse_sequences(ends[0], path)
    scores = _numbers(columns["score"], str(path), place)
    _refuse_outside(scores, kind, path)
    keys = [(a, b) if a <= b else (b, a) for a, b in zip(*(end.to_pylist() for end in ends), strict=True)]
    values: dict[tuple[str, str], float] = {}
    for row, (key, score) in enumerate(zip(keys, scores.tolist(), strict=True)):
        if values.setdefault(key, score) != score:
            raise DataError(
                "a pair has two different scores, in one order of its proteins or in both",
                where=f"{path}, {place(row)}",
                got=f"{key[0]} and {key[1]}: {values[key]!r} and {score!r}",
                expected="one score a pair",
                remedy="keep one of them, or their mean",
            )
    return ScoreTable(
        values=values,
        labels=_labels(keys, columns.get("label")),
        kind=kind,
        source=str(path),
        digest=file_digest(Path(path)),
    )


def _labels(keys: Sequence[tuple[str, str]], column: pa.Array | None) -> dict[tuple[str, str], int]:
    if column is None:
        return {}
    labels = [label_of(text or "") for text in column.to_pylist()]
    return {key: label for key, label in zip(keys, labels, strict=True) if label >= 0}


def _numbers(column: pa.Array, path: str, place: Place) -> np.ndarray:
    texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
    try:
        values = np.asarray(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid:
        values = np.array([_number(text) for text in texts.to_pylist()])
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        row = int(wrong[0])
        what = "score is no finite number" if wrong.size == 1 else "scores are no finite numbers"
        raise DataError(
            f"{wrong.size:,} {what}",
            where=f"{path}, {place(row)}",
            got=repr(texts[row].as_py()),
            expected="a number, or no row for a pair that has none",
        )
    return values


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _refuse_outside(scores: np.ndarray, kind: str, path: str | Path) -> None:
    """Refuses numbers that cannot be what they are taken as."""
    if kind == "probability":
        outside, expected = scores[(scores < 0) | (scores > 1)], "numbers from 0 to 1"
        remedy = "give score_type=logit, or score_type=ranking if they only order the pairs"
    else:
        outside, expected = scores[np.abs(scores) > _LARGEST_LOGIT], f"at most {_LARGEST_LOGIT:g}"
        remedy = "give score_type=ranking, as they only order the pairs"
    if outside.size and kind != "ranking":
        name, names = {"probability": ("probability", "probabilities"), "logit": ("logit", "logits")}[kind]
        what = f"score is no {name}" if outside.size == 1 else f"scores are no {names}"
        raise DataError(
            f"{outside.size:,} {what}",
            where=path, got=repr(float(outside[0])), expected=expected, remedy=remedy,
        )  # fmt: skip
    if kind == "probability" and np.isin(scores, (0, 1)).all():
        logger.warning("%s: every score is 0 or 1; are they labels, or calls of a threshold?", path)


def logits_of(table: PairTable, scores: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """The scores of labelled pairs, in their order.

    Args:
        table: The pairs.
        scores: Scores of some or all of them, and of others.

    Returns:
        Logits (n,) float64, and whether each pair has a score (n,) bool. Scores that only order the pairs
        become numbers of the same order, with equal ones equal.
    """
    names = table.proteins
    keys = [(names[a], names[b]) for a, b in table.index.tolist()]
    values = np.array([scores.values.get((a, b) if a <= b else (b, a), np.nan) for a, b in keys])
    there = ~np.isnan(values)
    if scores.kind == "probability":
        with np.errstate(divide="ignore"):
            values = np.clip(np.log(values) - np.log1p(-values), -_CERTAIN, _CERTAIN)
    elif scores.kind == "ranking":
        order = np.unique(values[there], return_inverse=True)[1]
        values[there] = (order + 0.5) / max(1, order.max(initial=0) + 1) * 2 - 1
    return values, there


def other_labels(table: PairTable, scores: ScoreTable) -> int:
    """How many pairs have another label in the file of the scores."""
    names, labels = table.proteins, table.required_labels.tolist()
    found = 0
    for (a, b), label in zip(table.index.tolist(), labels, strict=True):
        key = (names[a], names[b]) if names[a] <= names[b] else (names[b], names[a])
        found += scores.labels.get(key, label) != label
    return found
