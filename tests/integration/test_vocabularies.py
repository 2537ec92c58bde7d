"""Pairs and a FASTA that spell accessions differently are told apart before anything is embedded."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppi_train.errors import CacheError
from ppi_train.modes import execute_pipeline
from tests.support.small_data import TRAIN, VALIDATION, Named, as_string, plain, write_sequences, write_table


def as_swiss(number: int) -> str:
    return f"sp|{plain(number)}|NAME{number}_HUMAN"


def as_isoform(number: int) -> str:
    return f"{plain(number)}-2"


def as_gi(number: int) -> str:
    return f"gi|{100 + number}|ref|NP_{10_000 + number:06}.1|"


def as_refseq(number: int) -> str:
    return f"NP_{10_000 + number:06}"


def as_nothing_known(number: int) -> str:
    return f"gene_{number}"


CASES: list[tuple[Named, Named, str | None]] = [
    (as_swiss, plain, "the accession between the bars of sp|...|..., 16 of the 16 names fit"),
    (as_isoform, plain, "without the isoform number, 16 of the 16 names fit: P10000-2 as P10000"),
    (plain, as_isoform, "without the isoform number, 16 of the 16 names fit: P10000 as P10000-2"),
    (as_refseq, as_gi, "the accession before the last bar of gi|...|ref|...| and without the version, 16"),
    (as_nothing_known, as_string, None),
]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("pairs", "fasta", "rule"), CASES)
@pytest.mark.parametrize("missing", ["error", "drop"])
def test_the_rule_that_makes_names_fit_is_named_before_embedding(
    tmp_path: Path, pairs: Named, fasta: Named, rule: str | None, missing: str
) -> None:
    given = {
        "train_pairs": write_table(tmp_path / "train.tsv", TRAIN, pairs),
        "val_pairs": write_table(tmp_path / "val.tsv", VALIDATION, pairs),
        "fasta": write_sequences(tmp_path / "sequences.fasta", fasta),
        "data_dir": str(tmp_path / "data"),
        "output_dir": str(tmp_path / "runs"),
        "missing": missing,
    }
    with pytest.raises(CacheError, match="no embedding for 16 proteins") as caught:
        execute_pipeline("train_only", given)
    shown = str(caught.value)
    assert f"{pairs(0)}, {pairs(1)}, " in shown
    assert f"sequences.fasta: {fasta(0)}, {fasta(1)}, {fasta(2)}, ..." in shown
    assert (rule in shown) if rule else ("rewrite the names" not in shown)
    assert ("missing=drop" in shown) == (missing == "error")  # it would leave nothing
    assert not (tmp_path / "data").exists()
