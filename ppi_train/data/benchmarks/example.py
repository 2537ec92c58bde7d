"""The built-in example: a toy network learnable from its sequences.

Every protein is a random background of natural amino-acid composition with several copies of one short
motif in it. The motifs come in families of two, a lock and its key, and a protein with a lock binds
those with the key of the same family: a caricature of the domains and short linear motifs that do
mediate many interactions. A few labels are wrong, as in any experiment, so that no model can be
perfect. It shows that the machinery works; it says nothing about biology.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import AMINO_ACIDS, write_fasta
from ppi_train.data.negatives import degree_matched_negatives
from ppi_train.data.pairs import PairTable, pairs_from_ids, write_pairs

# Increased whenever the same seed gives another network, so that prepared copies are made again.
VERSION = 1

FAMILIES = 5
MOTIF_LENGTH = 7
COPIES = (3, 7)
LENGTHS = (80, 300)
NOISE = 0.04

# Proteins and positive pairs of each split; there are as many negatives.
SIZES = {"train": (700, 3_000), "validation": (200, 1_000), "test": (200, 1_000)}

# Amino-acid frequencies of UniProtKB/Swiss-Prot in per cent, in the order of AMINO_ACIDS.
_FREQUENCIES = (
    8.3, 1.4, 5.5, 6.7, 3.9, 7.1, 2.3, 5.9, 5.8, 9.6, 2.4, 4.1, 4.7, 3.9, 5.5, 6.6, 5.4, 6.9, 1.1, 2.9,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Example:
    """A toy network and its sequences.

    `sequences` maps every accession to its sequence; `splits` have no proteins in common.
    """

    sequences: Mapping[str, str]
    splits: Mapping[str, PairTable]


def make_example(seed: int = 0, *, shuffle_labels: bool = False) -> Example:
    """Makes the toy network of a seed.

    It has 1,100 proteins and 10,000 pairs, half of them positive.

    Negatives are matched in degree to the positives of their split, and a wrong label is given to as
    many positives as negatives, so that a protein's number of pairs says nothing.

    Args:
        seed: The same seed gives the same network.
        shuffle_labels: Permutes the labels within each split, so that there is nothing to learn.
    """
    rng = np.random.default_rng(seed)
    # A generator of its own, so that shuffling does not change the sequences and the pairs.
    shuffler = np.random.default_rng([seed, 1])
    motifs = [_residues(rng, MOTIF_LENGTH) for _ in range(2 * FAMILIES)]
    sequences: dict[str, str] = {}
    splits: dict[str, PairTable] = {}
    for name, (proteins, positives) in SIZES.items():
        accessions = [f"EX{len(sequences) + number:05d}" for number in range(proteins)]
        # Balanced, since scores on a split in which a family happens to be rare would be noisy.
        kinds = rng.permutation(np.arange(proteins) % len(motifs))
        sequences |= {
            accession: _protein(rng, motifs[kind]) for accession, kind in zip(accessions, kinds, strict=True)
        }
        pairs, labels = _network(rng, kinds, positives)
        splits[name] = pairs_from_ids(
            [accessions[number] for number in pairs[:, 0]],
            [accessions[number] for number in pairs[:, 1]],
            shuffler.permutation(labels) if shuffle_labels else labels,
            f"example/{name}",
        )
    return Example(sequences=sequences, splits=splits)


def write_example(folder: Path, *, seed: int = 0, shuffle_labels: bool = False) -> None:
    """Writes `<split>.tsv` for each split, and `sequences.fasta` for all of them."""
    example = make_example(seed, shuffle_labels=shuffle_labels)
    write_fasta(folder / "sequences.fasta", example.sequences)
    for name, table in example.splits.items():
        write_pairs(folder / f"{name}.tsv", table)


def _residues(rng: np.random.Generator, length: int) -> str:
    weights = np.array(_FREQUENCIES) / sum(_FREQUENCIES)
    return "".join(rng.choice(list(AMINO_ACIDS), size=length, p=weights))


def _protein(rng: np.random.Generator, motif: str) -> str:
    """A random background with copies of the motif at random places.

    Copies may overlap and so be broken.
    """
    residues = list(_residues(rng, int(rng.integers(*LENGTHS, endpoint=True))))
    for _ in range(rng.integers(*COPIES, endpoint=True)):
        start = int(rng.integers(0, len(residues) - len(motif)))
        residues[start : start + len(motif)] = motif
    return "".join(residues)


def _network(rng: np.random.Generator, kinds: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (2 * positives, 2) in random order with their labels.

    Kinds 2k and 2k + 1 are the lock and the key of family k. Popularity differs between proteins, as in
    real networks, where a few have many partners.
    """
    first, second = np.triu_indices(len(kinds), k=1)
    binds = (kinds[first] ^ 1) == kinds[second]
    binding = np.stack([first[binds], second[binds]], axis=1)
    popularity = rng.lognormal(sigma=0.5, size=len(kinds))
    weights = popularity[binding].prod(axis=1)
    chosen = binding[rng.choice(len(binding), size=positives, replace=False, p=weights / weights.sum())]
    negatives = degree_matched_negatives(chosen, forbidden=binding, count=positives, rng=rng)
    labels = np.repeat(np.array([1, 0], np.int8), positives)
    for start in (0, positives):
        wrong = start + rng.choice(positives, size=round(NOISE * positives), replace=False)
        labels[wrong] ^= 1
    order = rng.permutation(2 * positives)
    return np.concatenate([chosen, negatives])[order], labels[order]
