"""Tests of the similarity search and of its stored results.

The search is compared with exact alignment of all pairs; a search is done once, and damage is repaired.
"""

from __future__ import annotations

import os
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from ppi_train.data.alignment import encode_sequence, local_alignments
from ppi_train.data.similarity import FOLDER, Similarities, cached_similar, find_similar, similarity_clusters

# Natural frequencies in per cent, alphabetically: with even ones chance is kinder than in proteins.
RESIDUES = list("ACDEFGHIKLMNPQRSTVWY")
FREQUENCIES = np.array(
    [8.3, 1.4, 5.5, 6.7, 3.9, 7.1, 2.3, 5.9, 5.8, 9.6, 2.4, 4.1, 4.7, 3.9, 5.5, 6.6, 5.4, 6.9, 1.1, 2.9]
)
KEPT = (0.98, 0.7, 0.6, 0.5)


def random_sequence(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(RESIDUES, length, p=FREQUENCIES / FREQUENCIES.sum()))


def relative(rng: np.random.Generator, sequence: str, kept: float) -> str:
    """Residues replaced, and one long insertion."""
    changed = rng.random(len(sequence)) > kept
    letters = np.where(changed, list(random_sequence(rng, len(sequence))), list(sequence))
    place = int(rng.integers(1, len(sequence)))
    return "".join(letters[:place]) + random_sequence(rng, 12) + "".join(letters[place:])


@pytest.fixture(scope="module")
def sets() -> tuple[list[str], list[str]]:
    """Queries, of which the first 24 have a relative among the targets at their own place."""
    rng = np.random.default_rng(1)
    targets = [random_sequence(rng, int(rng.integers(80, 200))) for _ in range(32)]
    queries = [relative(rng, targets[place], KEPT[place % len(KEPT)]) for place in range(24)]
    return [*queries, *(random_sequence(rng, 200) for _ in range(8))], targets


def exact_identities(queries: list[str], targets: list[str]) -> np.ndarray:
    """Of every query with every target, (q, t), by exact local alignment."""
    a = [encode_sequence(query) for query in queries for _ in targets]
    b = [encode_sequence(target) for _ in queries for target in targets]
    shorter = np.array([min(len(first), len(second)) for first, second in zip(a, b, strict=True)])
    identity: np.ndarray = local_alignments(a, b).identical / shorter
    return identity.reshape(len(queries), len(targets))


def test_the_nearest_is_what_exact_alignment_finds(sets: tuple[list[str], list[str]]) -> None:
    queries, targets = sets
    found = find_similar(queries, targets)
    exact = exact_identities(queries, targets)
    nearest = found.nearest(len(queries))
    assert (found.target[np.searchsorted(found.query, np.arange(24))] == np.arange(24)).all()
    assert np.abs(nearest[:24] - exact[np.arange(24), np.arange(24)]).max() < 0.02
    assert not nearest[24:].any()
    assert (np.abs(found.identity - exact[found.query, found.target]) < 0.02).all()
    assert ((found.aligned_identity > 0) & (found.aligned_identity <= 1)).all()
    assert ((found.coverage > 0) & (found.coverage <= 1)).all()


def test_a_part_of_a_protein_is_as_like_as_the_whole_and_a_shared_domain_is_not(
    sets: tuple[list[str], list[str]],
) -> None:
    _, targets = sets
    rng = np.random.default_rng(2)
    whole = targets[0]
    part, with_domain = whole[20:70], random_sequence(rng, 200) + whole[20:70] + random_sequence(rng, 200)
    found = find_similar([part, with_domain], targets)
    assert found.nearest(2)[0] == 1.0
    assert found.nearest(2)[1] == pytest.approx(50 / len(whole), abs=0.08)
    assert found.aligned_identity[found.query == 1].max() > 0.6


def test_equal_sequences_have_identity_one_whatever_they_are_made_of() -> None:
    odd = ["Q" * 40, "MKV", "XXXXX", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"]
    found = find_similar([*odd, odd[3]], [odd[3], "W" * 30, *odd])
    assert found.nearest(5).tolist() == [1.0] * 5
    # Of sequences that are there twice all are found.
    assert found.target[found.query == 3].tolist() == [0, 5]
    assert found.target[found.query == 4].tolist() == [0, 5]


def test_only_so_many_neighbours_are_given_and_threads_change_nothing(
    sets: tuple[list[str], list[str]],
) -> None:
    queries, targets = sets
    family = [relative(np.random.default_rng(seed), targets[0], 0.8) for seed in range(9)]
    done: list[int] = []
    first, second = (
        find_similar(queries, [*targets, *family], neighbours=3, threads=threads, advance=done.append)
        for threads in (1, 2)
    )
    assert np.bincount(first.query).max() == 3
    assert (first.query == second.query).all()
    assert (first.target == second.target).all()
    assert (first.identity == second.identity).all()
    assert sum(done) == 2 * len(queries)


def test_nothing_is_similar_to_nothing() -> None:
    assert find_similar(["MKVLAAGW"], []).nearest(1).tolist() == [0.0]
    assert len(find_similar([], ["MKVLAAGW"]).query) == 0


def test_clusters_hold_relatives_and_what_links_them() -> None:
    rng = np.random.default_rng(3)
    founder = random_sequence(rng, 150)
    chain = [founder]
    for _ in range(3):
        chain.append(relative(rng, chain[-1], 0.7))
    others = [random_sequence(rng, 150) for _ in range(3)]
    groups = similarity_clusters([*chain, *others, founder], 0.5)
    assert len(set(groups[[0, 1, 2, 3, 7]].tolist())) == 1
    assert len(set(groups.tolist())) == 4
    strict = similarity_clusters([*chain, founder], 0.95)
    assert strict[0] == strict[4]
    assert len(set(strict.tolist())) == 4


RNG = np.random.default_rng(0)
TARGETS = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), 120)) for _ in range(5)]
QUERIES = [TARGETS[3][:100], "".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), 90))]


def same(first: Similarities, second: Similarities) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(astuple(first), astuple(second), strict=True))


def test_a_second_search_is_read_and_another_one_is_not(tmp_path: Path) -> None:
    told: list[int] = []
    expected = find_similar(QUERIES, TARGETS)
    assert expected.target.tolist() == [3]
    assert same(cached_similar(QUERIES, TARGETS, tmp_path, advance=told.append), expected)
    assert sum(told) == 2
    assert same(cached_similar(QUERIES, TARGETS, tmp_path, advance=told.append), expected)
    assert sum(told) == 2
    moved = cached_similar(QUERIES, TARGETS[1:], tmp_path, advance=told.append)
    assert moved.target.tolist() == [2]
    assert sum(told) == 4


@pytest.mark.parametrize("kept", [b"", b"PK\x03\x04 no archive", "cut", "other"])
def test_what_is_damaged_is_searched_for_again(tmp_path: Path, kept: bytes | str) -> None:
    expected = cached_similar(QUERIES, TARGETS, tmp_path)
    (path,) = (tmp_path / FOLDER).iterdir()
    if kept == "other":
        np.savez(path, query=np.zeros(1))
    else:
        path.write_bytes(path.read_bytes()[:-30] if isinstance(kept, str) else kept)
    assert same(cached_similar(QUERIES, TARGETS, tmp_path), expected)
    told: list[int] = []
    cached_similar(QUERIES, TARGETS, tmp_path, advance=told.append)
    assert not told  # it was mended


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_costs_no_more_than_time(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert same(cached_similar(QUERIES, TARGETS, tmp_path), find_similar(QUERIES, TARGETS))
