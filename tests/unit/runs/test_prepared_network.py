"""Tests of prepared networks: which tables are made, when they are made again, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppi_train.data.fasta import AMINO_ACIDS, read_fasta, write_fasta
from ppi_train.data.options import NetworkDivisionOptions, SourceNetworkOptions
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.data.splits import SIDES
from ppi_train.errors import DataError
from ppi_train.runs.prepared_network import prepare_network
from ppi_train.runs.prepared_tables import PreparedTables
from tests.support.made_species import ALIASES, FASTA, LINKS, accession, string_pairs, write_species

Pair = tuple[str, str]
RANDOM = np.random.default_rng(3)
SEQUENCES = {f"P{number:03}": "".join(RANDOM.choice(list(AMINO_ACIDS), 60)) for number in range(120)}


@pytest.fixture(scope="module")
def species(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Pair]]:
    """A folder with the downloads of a made-up species, and its interactions."""
    folder = tmp_path_factory.mktemp("species")
    return folder, write_species(folder)


def pairs_of(table: PairTable, label: int) -> set[Pair]:
    kept = table.index[table.required_labels == label]
    return {(table.proteins[a], table.proteins[b]) for a, b in kept.tolist()}


def tables_of(prepared: PreparedTables) -> dict[str, PairTable]:
    return {side: read_pairs(prepared.path(side) or "") for side in SIDES}


def edges(count: int = 600, proteins: int = 120) -> list[Pair]:
    """Distinct pairs of the sequences."""
    names = list(SEQUENCES)[:proteins]
    found: dict[Pair, None] = {}
    rng = np.random.default_rng(0)
    while len(found) < count:
        a, b = sorted(rng.choice(names, 2, replace=False).tolist())
        found[a, b] = None
    return list(found)


def prepare(
    folder: Path, lines: list[str], division: NetworkDivisionOptions | None = None, **options: object
) -> PreparedTables:
    """Prepares a network of these lines."""
    path = folder / "network.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    if not (folder / "a.fasta").exists():
        write_fasta(folder / "a.fasta", SEQUENCES)
    source = SourceNetworkOptions(network=str(path), **options)  # type: ignore[arg-type]
    return prepare_network(
        source, division or NetworkDivisionOptions(), [folder / "a.fasta"], folder / "data"
    )


def test_links_of_string_become_ordinary_tables(species: tuple[Path, set[Pair]], tmp_path: Path) -> None:
    folder, interactions = species
    options = SourceNetworkOptions(
        network=str(folder / LINKS), id_map=(str(folder / ALIASES),), min_score=400
    )
    division = NetworkDivisionOptions(split_method="random", negative_ratio=2)
    prepared = prepare_network(options, division, [folder / FASTA], tmp_path)
    tables = tables_of(prepared)
    positives = [pairs_of(table, 1) for table in tables.values()]
    assert set.union(*positives) == interactions
    assert sum(map(len, positives)) == len(interactions)
    everything = string_pairs(folder)
    for table in tables.values():
        negatives = pairs_of(table, 0)
        assert len(negatives) == 2 * table.positives
        assert not negatives & everything  # nor a pair that the filter left out
    assert set(read_fasta(prepared.fasta or "").sequences) == {
        protein for table in tables.values() for protein in table.proteins
    }
    said = "\n".join(prepared.record["lines"])
    assert "network: STRING links, 5,002 pairs of 1,098 names from 10,994 rows" in said
    assert "mapped 1,097 of 1,098 names" in said
    assert "split: random, seed 0: pairs are kept apart, proteins are shared" in said
    assert "negatives: 2 to 1, degree-matched, seed 0; never a pair of any set, nor one of 491" in said
    rows = (prepared.folder / "identifiers.tsv").read_text().splitlines()
    assert len(rows) == 1 + 1_098
    assert rows[1].split("\t")[:3] == ["4932.YAL0000W", "id_map", accession(0)]


def test_by_default_no_protein_is_on_two_sides(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, [f"{a}\t{b}" for a, b in edges()])
    proteins = [set(table.proteins) for table in tables_of(prepared).values()]
    assert len(set.union(*proteins)) == sum(map(len, proteins))
    assert any("split: c3" in line for line in prepared.record["lines"])
    assert any("validation has only" in line for line in prepared.record["warnings"])


def test_two_names_of_one_sequence_never_fall_on_two_sides(tmp_path: Path) -> None:
    renamed = {f"Q{name[1:]}": sequence for name, sequence in SEQUENCES.items()}
    write_fasta(tmp_path / "a.fasta", SEQUENCES | renamed)
    lines = [
        f"{a if row % 2 else 'Q' + a[1:]}\t{b if row % 3 else 'Q' + b[1:]}"
        for row, (a, b) in enumerate(edges())
    ]
    tables = tables_of(prepare(tmp_path, lines))
    sequences = read_fasta(tmp_path / "a.fasta").sequences
    of_sides = [{sequences[name] for name in table.proteins} for table in tables.values()]
    assert len(set.union(*of_sides)) == sum(map(len, of_sides))
    plain = {side: pairs_of(table, 1) for side, table in tables.items()}
    (tmp_path / "again").mkdir()
    again = tables_of(prepare(tmp_path / "again", [f"{a}\t{b}" for a, b in edges()]))
    assert plain == {side: pairs_of(table, 1) for side, table in again.items()}


def test_tables_are_found_again_and_made_again_when_an_input_changes(tmp_path: Path) -> None:
    lines = [f"{a}\t{b}" for a, b in edges()]
    first = prepare(tmp_path, lines)
    stamp = (first.folder / "train.tsv").stat().st_mtime_ns
    assert prepare(tmp_path, lines).folder == first.folder
    assert (first.folder / "train.tsv").stat().st_mtime_ns == stamp
    (first.folder / "train.tsv").write_text("changed\n")
    again = prepare(tmp_path, lines)
    assert again.folder == first.folder
    assert again.record["files"] == first.record["files"]
    assert read_pairs(again.path("train") or "").positives
    others = [
        prepare(tmp_path, lines[:-1]),
        prepare(tmp_path, lines, NetworkDivisionOptions(split_seed=1)),
        prepare(tmp_path, lines, NetworkDivisionOptions(negatives="uniform")),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 4
    assert not list((tmp_path / "data" / "networks").glob(".*"))
    assert json.loads((first.folder / "network.json").read_text())["layout"] == first.record["layout"]


def test_pairs_of_a_known_network_are_never_drawn(tmp_path: Path) -> None:
    lines = [f"{a}\t{b}" for a, b in edges(400, proteins=60)]
    division = NetworkDivisionOptions(split_method="random")
    drawn = {
        pair
        for table in tables_of(prepare(tmp_path, lines, division)).values()
        for pair in pairs_of(table, 0)
    }
    (tmp_path / "known.sif").write_text("".join(f"{b} pp {a}\n" for a, b in sorted(drawn)[:200]))
    again = tables_of(prepare(tmp_path, lines, division, known=(str(tmp_path / "known.sif"),)))
    found = {pair for table in again.values() for pair in pairs_of(table, 0)}
    assert len(found) == len(drawn)
    assert not found & set(sorted(drawn)[:200])


def test_negatives_of_the_network_are_kept_unless_others_are_asked_for(tmp_path: Path) -> None:
    rows = edges(900)
    lines = [
        "protein_a\tprotein_b\tlabel",
        *(f"{a}\t{b}\t{int(row % 3 > 0)}" for row, (a, b) in enumerate(rows)),
    ]
    kept = prepare(tmp_path, lines, NetworkDivisionOptions(split_method="random"))
    negatives = {pair for table in tables_of(kept).values() for pair in pairs_of(table, 0)}
    assert negatives == set(rows[::3])
    assert "negatives: those of the network; negatives=degree_matched draws others" in kept.record["lines"]
    division = NetworkDivisionOptions(split_method="random", negatives="degree_matched")
    drawn = tables_of(prepare(tmp_path, lines, division))
    positives = {pair for table in drawn.values() for pair in pairs_of(table, 1)}
    assert positives == {pair for row, pair in enumerate(rows) if row % 3}
    assert sum(len(pairs_of(table, 0)) for table in drawn.values()) == len(positives)


def test_a_host_and_its_virus_have_negatives_across(tmp_path: Path) -> None:
    names = list(SEQUENCES)
    host, virus = names[:100], names[100:]
    write_fasta(tmp_path / "host.fasta", {name: SEQUENCES[name] for name in host})
    write_fasta(tmp_path / "virus.fasta", {name: SEQUENCES[name] for name in virus})
    rng = np.random.default_rng(0)
    pairs = {(str(rng.choice(host)), str(rng.choice(virus))) for _ in range(600)}
    (tmp_path / "network.tsv").write_text("".join(f"{b}\t{a}\n" for a, b in sorted(pairs)))
    prepared = prepare_network(
        SourceNetworkOptions(network=str(tmp_path / "network.tsv")),
        NetworkDivisionOptions(split_method="random"),
        [tmp_path / "host.fasta", tmp_path / "virus.fasta"],
        tmp_path / "data",
    )
    for table in tables_of(prepared).values():
        assert all((a in host) != (b in host) for a, b in pairs_of(table, 0))
    assert "between the organisms that interactions are between" in prepared.record["lines"][-1]


def test_by_time_the_newest_are_test(tmp_path: Path) -> None:
    rows = edges(600)
    header = "#ID(s) interactor A\tID(s) interactor B\t" + "\t".join(
        f"column {number}" for number in range(13)
    )
    lines = [header]
    for row, (a, b) in enumerate(rows):
        columns = [f"uniprotkb:{a}", f"uniprotkb:{b}", *["-"] * 13]
        columns[6] = 'psi-mi:"MI:0018"(two hybrid)'
        columns[7] = f"Somebody et al. ({2000 + row % 20})" if row % 50 else "-"
        columns[9] = columns[10] = "taxid:9606(human)|taxid:9606(Homo sapiens)"
        lines.append("\t".join(columns))
    prepared = prepare(tmp_path, lines, NetworkDivisionOptions(split_method="time"))
    year = {pair: 2000 + row % 20 for row, pair in enumerate(rows)}
    years = {side: {year[pair] for pair in pairs_of(table, 1)} for side, table in tables_of(prepared).items()}
    assert max(years["train"]) < min(years["validation"])
    assert max(years["validation"]) < min(years["test"]) == 2016
    said = "\n".join(prepared.record["lines"])
    assert "proteins are shared" in said
    assert "(2016 to 2019)" in said
    assert "12 without a year left out" in said


@pytest.mark.parametrize(
    ("lines", "message", "expected"),
    [
        ([f"P000\t{name}" for name in list(SEQUENCES)[1:]], "the network is a star", "119 partners of P000"),
        ([f"{a}\t{b}" for a, b in edges(30)], "too small to train and test on", "30 pairs of"),
        ([f"GENE{a}\tGENE{b}" for a, b in edges(200)], "no name of the network is that of", "GENEP0"),
    ],
    ids=["a star", "thirty edges", "other names"],
)
def test_what_cannot_be_divided_is_refused(
    tmp_path: Path, lines: list[str], message: str, expected: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        prepare(tmp_path, lines)
    assert expected in str(caught.value)
    assert not list((tmp_path / "data").rglob("*.tsv"))


def test_a_network_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the network is not there"):
        prepare_network(
            SourceNetworkOptions(network=str(tmp_path / "gone.txt")), NetworkDivisionOptions(), [], tmp_path
        )


def test_two_fastas_with_different_sequences_of_one_name_are_refused(tmp_path: Path) -> None:
    prepare(tmp_path, [f"{a}\t{b}" for a, b in edges()])
    write_fasta(tmp_path / "b.fasta", {"P000": "MKV"})
    with pytest.raises(DataError, match="the key P000 has two sequences"):
        prepare_network(
            SourceNetworkOptions(network=str(tmp_path / "network.txt")),
            NetworkDivisionOptions(),
            [tmp_path / "a.fasta", tmp_path / "b.fasta"],
            tmp_path / "data",
        )
