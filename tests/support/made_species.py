"""A made-up species as three downloads: STRING's links and aliases, and UniProt's FASTA.

The layouts are those of https://string-db.org/cgi/download and https://www.uniprot.org/help/fasta-headers,
written out here by hand. The interactions are those of the built-in example, so that they can be learned.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from ppi_train.data.benchmarks.example import make_example

LINKS = "4932.protein.physical.links.v12.0.txt.gz"
ALIASES = "4932.protein.aliases.v12.0.txt.gz"
FASTA = "uniprot.fasta.gz"

Pair = tuple[str, str]


def accession(number: int) -> str:
    return f"P{10_000 + number}" if number else "P06101"  # the protein of the tutorial


def string_name(number: int) -> str:
    return f"4932.YAL{number:04}W"


def gene(number: int) -> str:
    return f"MAD{number}"


def interactions() -> tuple[list[str], list[tuple[int, int]]]:
    """The sequences of all proteins, and the interactions of the example as pairs of numbers."""
    example = make_example()
    number = {name: place for place, name in enumerate(example.sequences)}
    pairs = [
        (number[table.proteins[a]], number[table.proteins[b]])
        for table in example.splits.values()
        for (a, b), label in zip(table.index.tolist(), table.required_labels.tolist(), strict=True)
        if label
    ]
    return list(example.sequences.values()), pairs


def write_species(folder: Path) -> set[Pair]:
    """Writes the three files; returns the interactions of score 400 or more, by sorted accessions.

    Rows of a lower score are made up, each pair is there in both directions as STRING has them, and the last
    protein of the links has no sequence.
    """
    sequences, pairs = interactions()
    rng = np.random.default_rng(17)
    scores = rng.integers(400, 1000, len(pairs)).tolist()
    doubtful = [(int(a), int(b)) for a, b in rng.integers(0, len(sequences), (500, 2)) if a != b]
    lost = [(len(sequences), 0), (len(sequences), 1)]
    rows = [
        *((*pair, score) for pair, score in zip(pairs, scores, strict=True)),
        *((*pair, 150) for pair in doubtful if pair not in pairs and pair[::-1] not in pairs),
        *((*pair, 900) for pair in lost),
    ]
    lines = sorted(
        f"{string_name(a)} {string_name(b)} {score}"
        for first, second, score in rows
        for a, b in ((first, second), (second, first))
    )
    _write(folder / LINKS, ["protein1 protein2 combined_score", *lines])
    aliases = [
        f"{string_name(number)}\t{alias}\t{source}"
        for number in range(len(sequences) + 1)
        for alias, source in (
            (f"YAL{number:04}W", "Ensembl_gene"),
            (gene(number), "Ensembl_EntrezGene"),
            (accession(number), "UniProt_AC"),
        )
    ]
    _write(folder / ALIASES, ["#string_protein_id\talias\tsource", *aliases])
    records = [
        f">sp|{accession(number)}|{gene(number)}_MADUP Made-up protein {number} OS=Fabricata exempli OX=4932 "
        f"GN={gene(number)} PE=1 SV=1\n{_wrapped(sequence)}"
        for number, sequence in enumerate(sequences)
    ]
    _write(folder / FASTA, records)
    named = [tuple(sorted((accession(a), accession(b)))) for a, b in pairs]
    return {(a, b) for a, b in named}


def string_pairs(folder: Path) -> set[Pair]:
    """The pairs of all rows of the links, of any score, by sorted accessions."""
    lines = gzip.decompress((folder / LINKS).read_bytes()).decode().splitlines()[1:]
    ends = [[accession(int(name[8:12])) for name in line.split()[:2]] for line in lines]
    return {(min(pair), max(pair)) for pair in ends}


def _wrapped(sequence: str) -> str:
    return "\n".join(sequence[start : start + 60] for start in range(0, len(sequence), 60))


def _write(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
