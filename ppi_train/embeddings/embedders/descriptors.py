"""The embedder `descriptors`: counts of residues, pairs and triad classes.

They need no training and no download.

For each protein: amino-acid composition (20 numbers), dipeptide composition (400), conjoint triads
(343; Shen et al. 2007, PNAS 104:4337), composition of the first and of the last residues (20 each),
and the logarithm of the length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from ppi_train.data.fasta import AMINO_ACIDS
from ppi_train.embeddings.embedders.base import EmbedderRequest
from ppi_train.errors import ConfigError

# Shen et al. 2007, table 1: classes by dipole and side-chain volume.
TRIAD_CLASSES = ("AGV", "ILFP", "YMTS", "HNQW", "RK", "DE", "C")
# Selenocysteine and pyrrolysine count as what they derive from; B, Z and J, which stand for two residues,
# as the more common of them; X is no residue and interrupts pairs and triads.
SUBSTITUTES = {"U": "C", "O": "K", "B": "D", "Z": "E", "J": "L"}
TERMINAL_WINDOW = 30
RECIPE_VERSION = 1

_NONE = 255  # the class of a letter that is no residue


def _lookup(groups: Sequence[str]) -> np.ndarray:
    """Lookup table from byte to class.

    Letters that are no residue give _NONE.
    """
    table = np.full(256, _NONE, dtype=np.uint8)
    for number, letters in enumerate(groups):
        for letter in letters:
            table[ord(letter)] = number
    for letter, substitute in SUBSTITUTES.items():
        table[ord(letter)] = table[ord(substitute)]
    return table


RESIDUE_CLASS = _lookup(AMINO_ACIDS)
_TRIAD_CLASS = _lookup(TRIAD_CLASSES)


class Descriptors:
    """The embedder `descriptors`."""

    name = "descriptors"
    granularity = "protein"
    dimension = 20 + 400 + 343 + 20 + 20 + 1

    @classmethod
    def from_request(cls, request: EmbedderRequest) -> Descriptors:
        """Creates the embedder; it has no options.

        Raises:
            ConfigError: granularity `residue` is requested.
        """
        if request.granularity == "residue":
            raise ConfigError(
                "descriptors are counts over a whole protein",
                got="granularity=residue",
                expected="granularity=protein, or unset",
                remedy="give an embedder with residues, such as protein_lm or esm2",
            )
        return cls()

    def parameters(self) -> dict[str, object]:
        return {"recipe_version": RECIPE_VERSION, "terminal_window": TERMINAL_WINDOW}

    def digest(self) -> str:
        text = json.dumps({"name": self.name, **self.parameters()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def embed(self, sequences: Sequence[str]) -> np.ndarray:
        """Descriptors (n, 804) float32 of sequences.

        They are frequencies; each block sums to 1 unless it counts nothing.
        """
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        if not len(lengths):
            return np.empty((0, self.dimension), dtype=np.float32)
        letters = np.frombuffer("".join(sequences).encode("latin-1"), dtype=np.uint8)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(letters)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        residue, triad = RESIDUE_CLASS[letters].astype(np.int64), _TRIAD_CLASS[letters].astype(np.int64)
        from_end = np.repeat(lengths, lengths) - place
        counter = _Counter(owner, len(lengths))
        blocks = [
            counter.frequencies([residue], 20),
            counter.frequencies([residue, residue], 20),
            counter.frequencies([triad, triad, triad], 7),
            counter.frequencies([residue], 20, where=place < TERMINAL_WINDOW),
            counter.frequencies([residue], 20, where=from_end <= TERMINAL_WINDOW),
            np.log(np.maximum(lengths, 1))[:, None],
        ]
        return np.concatenate(blocks, axis=1).astype(np.float32)


class _Counter:
    """Counts k-mers of classes for all proteins at once."""

    def __init__(self, owner: np.ndarray, proteins: int) -> None:
        self._owner, self._proteins = owner, proteins

    def frequencies(
        self, classes: Sequence[np.ndarray], base: int, *, where: np.ndarray | None = None
    ) -> np.ndarray:
        """Frequencies (n, base**k) of k-mers.

        Only k-mers within one protein and without unknown letters are counted.
        """
        k = len(classes)
        last = len(self._owner) - k + 1
        if last <= 0:
            return np.zeros((self._proteins, base**k))
        shifted = [class_numbers[offset : offset + last] for offset, class_numbers in enumerate(classes)]
        first_owner = self._owner[:last]
        valid = first_owner == self._owner[k - 1 :]
        code = np.zeros(last, dtype=np.int64)
        for class_numbers in shifted:
            valid &= class_numbers != _NONE
            code = code * base + class_numbers
        if where is not None:
            valid &= where[:last]
        slots = first_owner[valid] * base**k + code[valid]
        counts = np.bincount(slots, minlength=self._proteins * base**k).reshape(self._proteins, -1)
        frequencies: np.ndarray = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return frequencies
