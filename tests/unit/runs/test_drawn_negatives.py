"""Tests of negatives for tables of interactions: what is never drawn, and between which organisms."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppi_train.data.fasta import write_fasta
from ppi_train.data.options import NetworkDivisionOptions, SourceNetworkOptions
from ppi_train.data.pairs import read_pairs
from ppi_train.errors import DataError
from ppi_train.runs.drawn_negatives import with_drawn_negatives
from ppi_train.runs.prepared_tables import PreparedTables
from tests.unit.runs.test_prepared_network import SEQUENCES, edges, pairs_of

Pair = tuple[str, str]
DEGREE_MATCHED = NetworkDivisionOptions(negatives="degree_matched")
ALL = edges(900, proteins=80)


def write(path: Path, pairs: list[Pair], label: str = "") -> str:
    path.write_text("".join(f"{a}\t{b}{label}\n" for a, b in pairs))
    return str(path)


def draw(
    folder: Path,
    train: list[Pair],
    validation: list[Pair],
    division: NetworkDivisionOptions = DEGREE_MATCHED,
    known: tuple[str, ...] | None = None,
) -> PreparedTables | None:
    """Draws for two tables of positives, the first with labels, the second without."""
    if not (folder / "a.fasta").exists():
        write_fasta(folder / "a.fasta", SEQUENCES)
    paths = {
        "train": write(folder / "train.tsv", train, "\t1"),
        "validation": write(folder / "validation.tsv", validation),
    }
    return with_drawn_negatives(
        paths,
        SourceNetworkOptions(known=known),
        division,
        [folder / "a.fasta"],
        folder / "data",
    )


def drawn_of(prepared: PreparedTables | None, side: str) -> set[Pair]:
    assert prepared is not None
    return pairs_of(read_pairs(prepared.path(side) or ""), 0)


def test_no_pair_of_any_table_is_drawn_and_each_only_once(tmp_path: Path) -> None:
    found = draw(tmp_path, ALL[:600], ALL[600:])
    train, validation = drawn_of(found, "train"), drawn_of(found, "validation")
    assert (len(train), len(validation)) == (600, 300)
    assert not (train | validation) & set(ALL)
    assert not train & validation
    assert found is not None
    assert found.record["lines"][0].startswith(
        "no negatives in train and validation: drawing 1 to 1, degree-matched, seed 0"
    )
    assert found.path("test") is None
    assert found.fasta is None


def test_what_is_known_under_another_name_of_the_sequence_is_not_drawn(tmp_path: Path) -> None:
    plain = draw(tmp_path, ALL[:600], ALL[600:])
    some = sorted(drawn_of(plain, "train"))[:200]
    other = tmp_path / "other"
    other.mkdir()
    write_fasta(other / "a.fasta", SEQUENCES | {f"A{name}": sequence for name, sequence in SEQUENCES.items()})
    known = write(other / "known.tsv", [(f"A{b}", a) for a, b in some])
    again = draw(other, ALL[:600], [(f"A{a}", f"A{b}") for a, b in ALL[600:]], known=(known,))
    train, validation = drawn_of(again, "train"), drawn_of(again, "validation")
    assert (len(train), len(validation)) == (600, 300)
    assert not (train | validation) & (set(ALL) | set(some))


def test_a_table_with_negatives_stays_as_it_is_and_its_negatives_are_not_drawn(tmp_path: Path) -> None:
    write_fasta(tmp_path / "a.fasta", SEQUENCES)
    train = write(tmp_path / "train.tsv", ALL[:400])
    both = [f"{a}\t{b}\t{row % 2}\n" for row, (a, b) in enumerate(ALL[400:])]
    (tmp_path / "validation.tsv").write_text("".join(both))
    paths = {"train": train, "validation": str(tmp_path / "validation.tsv")}
    arguments = (SourceNetworkOptions(), DEGREE_MATCHED, [tmp_path / "a.fasta"], tmp_path / "data")
    found = with_drawn_negatives(paths, *arguments)
    assert found is not None
    assert not drawn_of(found, "train") & set(ALL)
    assert drawn_of(found, "validation") == set(ALL[400::2])
    # With the drawn ones there is nothing left to draw.
    complete = {side: found.path(side) or "" for side in paths}
    assert with_drawn_negatives(complete, *arguments) is None


def test_kind_ratio_and_seed_are_those_asked_for(tmp_path: Path) -> None:
    variants = [
        DEGREE_MATCHED,
        NetworkDivisionOptions(negatives="uniform"),
        NetworkDivisionOptions(negatives="degree_matched", split_seed=1),
    ]
    drawn = [drawn_of(draw(tmp_path, ALL[:600], ALL[600:700], variant), "train") for variant in variants]
    assert drawn[0] != drawn[1]
    assert drawn[0] != drawn[2]
    half = NetworkDivisionOptions(negatives="degree_matched", negative_ratio=0.5)
    assert len(drawn_of(draw(tmp_path, ALL[:600], ALL[600:700], half), "train")) == 300


def test_known_networks_need_sequences(tmp_path: Path) -> None:
    paths = {"train": write(tmp_path / "train.tsv", ALL[:100])}
    options = SourceNetworkOptions(known=(paths["train"],))
    with pytest.raises(DataError, match="names of a known network cannot be mapped"):
        with_drawn_negatives(paths, options, DEGREE_MATCHED, [], tmp_path)
