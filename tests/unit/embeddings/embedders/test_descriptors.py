"""Tests of the descriptors against a plain k-mer count and at limits."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest

from ppi_train.data.fasta import AMINO_ACIDS
from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import EmbedderRequest, truncate
from ppi_train.embeddings.embedders.descriptors import (
    TERMINAL_WINDOW,
    TRIAD_CLASSES,
    Descriptors,
)
from ppi_train.errors import ConfigError, DataError

CLASS_OF = {letter: str(number) for number, group in enumerate(TRIAD_CLASSES) for letter in group}


def share(text: str, alphabet: str, k: int) -> list[float]:
    """Frequencies of all k-mers of an alphabet, those with another letter left out."""
    words = ["".join(word) for word in product(alphabet, repeat=k)]
    found = Counter(text[start : start + k] for start in range(len(text) - k + 1))
    total = sum(found[word] for word in words)
    return [found[word] / total if total else 0.0 for word in words]


def by_hand(sequence: str) -> list[float]:
    classes = "".join(CLASS_OF.get(letter, "-") for letter in sequence)
    ends = sequence[:TERMINAL_WINDOW], sequence[-TERMINAL_WINDOW:]
    return [
        *share(sequence, AMINO_ACIDS, 1),
        *share(sequence, AMINO_ACIDS, 2),
        *share(classes, "0123456", 3),
        *share(ends[0], AMINO_ACIDS, 1),
        *share(ends[1], AMINO_ACIDS, 1),
        math.log(max(len(sequence), 1)),
    ]


@pytest.fixture
def sequences() -> list[str]:
    rng = np.random.default_rng(0)
    lengths = (1, 2, 3, 29, 30, 31, 59, 200, 700)
    return ["".join(rng.choice(list(AMINO_ACIDS + "X"), size)) for size in lengths]


def test_equal_to_a_plain_count(sequences: list[str]) -> None:
    expected = np.array([by_hand(sequence) for sequence in sequences])
    np.testing.assert_allclose(Descriptors().embed(sequences), expected, atol=1e-6)


def test_a_sequence_has_the_same_bits_whatever_is_embedded_with_it(sequences: list[str]) -> None:
    together = Descriptors().embed(sequences)
    alone = np.concatenate([Descriptors().embed([sequence]) for sequence in sequences])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("sequence", ["M", "MK", "XXXX", "UOBZJX"])
def test_short_and_odd_sequences_are_finite(sequence: str) -> None:
    assert np.isfinite(Descriptors().embed([sequence])).all()


def test_rare_letters_count_as_what_they_stand_for() -> None:
    rare, common = Descriptors().embed(["UOBZJ", "CKDEL"])
    assert np.array_equal(rare, common)


def test_the_digest_follows_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Descriptors().digest()
    assert before == Descriptors().digest()
    monkeypatch.setattr("ppi_train.embeddings.embedders.descriptors.TERMINAL_WINDOW", 31)
    assert Descriptors().digest() != before


def test_an_unknown_embedder_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="there is no such embedder") as caught:
        make_embedder(EmbedderRequest(name="descriptor"))
    assert "did you mean descriptors?" in str(caught.value)


@pytest.mark.parametrize(
    ("truncation", "limit", "kept"),
    [("head", 4, "ABCD"), ("head_tail", 4, "ABIJ"), ("head_tail", 5, "ABCIJ"), ("head_tail", 1, "A")],
)
def test_long_proteins_are_cut_as_asked(truncation: str, limit: int, kept: str) -> None:
    assert truncate("P1", "ABCDEFGHIJ", max_length=limit, truncation=truncation) == kept


def test_long_proteins_can_be_an_error_and_short_ones_are_whole() -> None:
    assert truncate("P1", "ABC", max_length=3, truncation="error") == "ABC"
    with pytest.raises(DataError, match="a protein is longer than max_length") as caught:
        truncate("P1", "ABCD", max_length=3, truncation="error")
    assert "4 residues" in str(caught.value)
