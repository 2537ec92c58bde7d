"""Sixteen made-up proteins and their pairs, under any names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import AMINO_ACIDS, write_fasta

_RANDOM = np.random.default_rng(16)
SEQUENCES = ["".join(_RANDOM.choice(list(AMINO_ACIDS), size)) for size in _RANDOM.integers(40, 80, 16)]
_PAIRS = [(a, b) for a in range(16) for b in range(a)]
_ORDER = _RANDOM.permutation(len(_PAIRS))
TRAIN = [(*_PAIRS[place], number % 2) for number, place in enumerate(_ORDER[:40])]
VALIDATION = [(*_PAIRS[place], number % 2) for number, place in enumerate(_ORDER[40:60])]

Rows = Sequence[tuple[int, int, int]]
Named = Callable[[int], str]


def plain(number: int) -> str:
    """As UniProt names a protein."""
    return f"P{10_000 + number}"


def as_string(number: int) -> str:
    """As STRING names a protein."""
    return f"9606.ENSP{number:011}"


def write_table(path: Path, rows: Rows, named: Named = plain) -> str:
    """Writes pairs of numbers under names of one kind."""
    path.write_text("".join(f"{named(a)}\t{named(b)}\t{label}\n" for a, b, label in rows))
    return str(path)


def write_sequences(path: Path, *kinds: Named) -> str:
    """Writes each sequence under its names of some kinds."""
    write_fasta(path, {named(number): SEQUENCES[number] for named in kinds for number in range(16)})
    return str(path)
