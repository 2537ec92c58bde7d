"""Residues as token numbers, for language models."""

from __future__ import annotations

import numpy as np

from ppi_train.embeddings.embedders.descriptors import AMINO_ACIDS, SUBSTITUTES

SEPARATOR = 0
"""Precedes each protein, and so separates two; also used as padding."""
UNKNOWN = len(AMINO_ACIDS) + 1
VOCABULARY = UNKNOWN + 1


def _table() -> np.ndarray:
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    for number, letter in enumerate(AMINO_ACIDS, start=1):
        table[ord(letter)] = number
    for letter, substitute in SUBSTITUTES.items():
        table[ord(letter)] = table[ord(substitute)]
    return table


_TOKEN = _table()


def tokenize(sequence: str) -> np.ndarray:
    """Token numbers (L,) uint8 of a sequence, 1 to UNKNOWN.

    >>> tokenize("ACX").tolist()
    [1, 2, 21]
    """
    return _TOKEN[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
