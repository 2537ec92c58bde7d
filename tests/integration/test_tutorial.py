"""The commands of the tutorial run as they are written, on the downloads of a made-up species."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.made_species import ALIASES, FASTA, LINKS, accession, string_pairs, write_species

PAGE = (ROOT / "docs/start/your-data.md").read_text().partition("## A network")[2]
COMMANDS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_names_the_files_of_the_made_up_species() -> None:
    assert all(f"`{name}`" in PAGE for name in (LINKS, ALIASES, FASTA))
    assert f"protein={accession(0)} " in PAGE


@pytest.mark.slow
def test_the_tutorial_ends_in_new_partners_of_a_protein(tmp_path: Path) -> None:
    write_species(tmp_path)
    for name in ("MLproject", "conda.yaml", "entry_points"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PPI_TRAIN_CACHE": str(tmp_path / "cache"),
    }
    environment.pop("MLFLOW_RUN_ID", None)
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(COMMANDS)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for said in ("network: STRING links", "mapped 1,097 of 1,098 names", "split: c3", "negatives: 1 to 1"):
        assert said in done.stderr
    assert "models:/yeast@champion is now version 1" in done.stderr
    assert "no protein in training (C3)" in done.stderr

    with (tmp_path / "partners.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert done.stdout.splitlines() == (tmp_path / "partners.tsv").read_text().splitlines()[:11]
    partners = [row["protein_b"] for row in rows]
    assert {row["protein_a"] for row in rows} == {accession(0)}
    assert partners
    assert [float(row["probability"]) for row in rows] == sorted(
        (float(row["probability"]) for row in rows), reverse=True
    )
    known = {pair for pair in string_pairs(tmp_path) if accession(0) in pair}
    assert known
    assert not {tuple(sorted((accession(0), partner))) for partner in partners} & known
    assert {row["in_training"] for row in rows} == {row["known"] for row in rows} == {"false"}
    assert rows[0]["gene_b"].startswith("MAD")
