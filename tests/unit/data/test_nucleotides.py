"""Tests of the detection of nucleotide sequences among proteins.

DNA is recognised by long sequences of few letters; no protein set may be mistaken for it.
"""

from __future__ import annotations

import random

import pytest

from ppi_train.data.fasta import SequenceTable, refuse_nucleotides
from ppi_train.errors import DataError

SILK = "GAGAGSGAGAGSGAGAGSGAGAGYGAGAGVGAGYGAGAGAGYGAGAGAGYGAGAGS"
ANTIFREEZE = "DTASDAAAAAALTAANAKAAAELTAANAAAAAAATAR" * 2  # of the winter flounder, twice


def drawn(letters: str, length: int, count: int = 20) -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices(letters, k=length)) for _ in range(count)]


def check(sequences: list[str]) -> None:
    table = SequenceTable(
        sequences={f"S{number}": sequence for number, sequence in enumerate(sequences)},
        source="some.fasta",
        nonstandard={},
        duplicates=0,
    )
    refuse_nucleotides(table)


@pytest.mark.parametrize(
    "sequences",
    [
        drawn("ACGT", 300),
        drawn("ACGU", 50),
        drawn("ACGTN", 10_000, count=1),
        [sequence + "RYSWKM" for sequence in drawn("ACGT", 300)],  # what the sequencer could not tell
        drawn("ACGT", 300) + drawn("ACDEFGHIKLMNPQRSTVWY", 300, count=2),
        drawn("ACGT", 300) + drawn("ACDEFGHIKLMNPQRSTVWY", 30, count=200),
    ],
    ids=["dna", "rna", "a single contig", "ambiguous", "mixed with proteins", "mixed with peptides"],
)
def test_nucleotides_are_refused(sequences: list[str]) -> None:
    with pytest.raises(DataError, match=r"DNA or RNA, not proteins\n  where: some.fasta\n  got: \d+ of"):
        check(sequences)


@pytest.mark.parametrize(
    "sequences",
    [
        drawn("ACGT", 49),
        [SILK],
        [ANTIFREEZE],
        drawn("ACDEFGHIKLMNPQRSTVWY", 300),
        drawn("ACGT", 300, count=9) + drawn("ACDEFGHIKLMNPQRSTVWY", 300, count=1),
        ["MKV"],
    ],
    ids=["peptides", "silk", "antifreeze protein", "proteins", "nine tenths", "one tripeptide"],
)
def test_proteins_are_not(sequences: list[str]) -> None:
    check(sequences)
