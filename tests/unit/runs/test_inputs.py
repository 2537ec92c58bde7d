"""Tests of the advice for proteins without an embedding."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppi_train.config.loading import load_config
from ppi_train.errors import CacheError, ConfigError
from ppi_train.runs.configs import ExplainConfig
from ppi_train.runs.inputs import refuse_other_names


@pytest.mark.parametrize(
    ("missing", "names", "advised"),
    [("error", ["A", "B"], True), (None, ["A", "B"], False), ("drop", ["B"], False)],
)
def test_to_drop_proteins_is_advised_only_where_it_helps(
    tmp_path: Path, missing: str | None, names: list[str], advised: bool
) -> None:
    fasta = tmp_path / "a.fasta"
    fasta.write_text(">A\nMKVL\n")
    with pytest.raises(CacheError, match="no embedding for 1 protein") as caught:
        refuse_other_names({"pairs.tsv": names}, [fasta], missing=missing)
    assert ("missing=drop" in str(caught.value)) == advised


def test_explain_has_nothing_to_drop() -> None:
    with pytest.raises(ConfigError, match="missing: no such parameter"):
        load_config(ExplainConfig, {"run_id": "0a1b", "missing": "drop"})
