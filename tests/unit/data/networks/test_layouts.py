"""Tests of networks in each layout: the same pairs as in the original, and what else a layout says."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import networkx
import numpy as np
import pyarrow as pa
import pytest

from ppi_train.data.networks import Network, NetworkFilter, read_network
from ppi_train.data.pairs import read_pairs
from tests.support.network_layouts import (
    LAYOUTS,
    Pairs,
    biogrid_row,
    biogrid_tab3,
    columns,
    header,
    mitab,
    mitab_row,
    string_links,
)

FEW = [("P2", "P1"), ("P1", "P3"), ("P2", "P2"), ("P3", "P2")]


def _zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


def _write(tmp_path: Path, text: str | bytes, name: str = "download") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _read(tmp_path: Path, text: str | bytes, **wanted: object) -> Network:
    return read_network(_write(tmp_path, text), NetworkFilter(**wanted))  # type: ignore[arg-type]


def _pairs(network: Network) -> list[tuple[str, str]]:
    return [(network.names[a], network.names[b]) for a, b in network.index.tolist()]


@pytest.fixture(scope="session")
def originals(mirror: str) -> dict[str, Pairs]:
    """The positive pairs of PRING's Arabidopsis and of Bernett's training set, as their files list them."""
    found: dict[str, Pairs] = {}
    for name, pattern in (("pring_arath", "**/arath_ppi.txt"), ("bernett", "**/Intra1_interaction.tsv")):
        table = read_pairs(next(Path(mirror).glob(pattern)), labels="optional")
        chosen = table.index if table.labels is None else table.index[table.labels == 1]
        found[name] = [(table.proteins[a], table.proteins[b]) for a, b in chosen.tolist()]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, _zstd])
def test_layouts_are_recognised_by_content(
    layout: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    name, write = LAYOUTS[layout]
    network = _read(tmp_path, pack(write(FEW).encode()))
    assert network.layout == name
    assert network.names == ("P1", "P2", "P3")
    assert _pairs(network) == [("P1", "P2"), ("P1", "P3"), ("P2", "P2"), ("P2", "P3")]
    assert network.index.dtype == np.int32


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("original", ["pring_arath", "bernett"])
def test_real_networks_in_each_layout(
    layout: str, original: str, originals: dict[str, Pairs], tmp_path: Path
) -> None:
    expected = originals[original]
    assert len(expected) > 20_000
    network = _read(tmp_path, LAYOUTS[layout][1](expected))
    assert _pairs(network) == expected
    assert network.names == tuple(sorted({name for pair in expected for name in pair}))


@pytest.mark.parametrize("original", ["pring_arath", "bernett"])
def test_real_networks_as_string_lists_them(
    original: str, originals: dict[str, Pairs], tmp_path: Path
) -> None:
    expected = originals[original]
    network = _read(tmp_path, string_links(expected))
    assert {(a[5:], b[5:]) for a, b in _pairs(network)} == set(expected)
    assert len(network) == len(expected)
    assert network.counts["duplicates"] == sum(a != b for a, b in expected)
    assert network.taxid is not None
    assert set(network.taxid.tolist()) == {3702}


def test_labels_and_scores_of_real_tables(mirror: str) -> None:
    path = next(Path(mirror).glob("**/Intra0_interaction.tsv"))
    network, table = read_network(path), read_pairs(path)
    assert network.negative is not None
    assert table.labels is not None
    assert network.names == table.proteins
    assert np.array_equal(network.index, table.index)
    assert np.array_equal(network.negative, table.labels == 0)


def test_string_channels(tmp_path: Path) -> None:
    rows = [
        "9606.ENSP1 9606.ENSP2 0 0 0 0 0 0 45 0 134 0 0 0 81 173",
        "9606.ENSP1 9606.ENSP3 0 0 0 0 0 0 0 700 0 0 0 0 0 700",
        "9606.ENSP2 9606.ENSP1 0 0 0 0 0 0 45 0 134 0 0 0 81 180",
    ]
    text = "\n".join([header("string_full"), *rows])
    network = _read(tmp_path, text)
    assert network.layout == "STRING links, full"
    assert network.score is not None
    assert network.score.tolist() == [180, 700]
    assert network.year is network.negative is None
    assert network.counts == {"rows": 3, "duplicates": 1}
    physical = _read(tmp_path, text, score_column="experiments", min_score=500)
    assert _pairs(physical) == [("9606.ENSP1", "9606.ENSP3")]
    assert physical.counts == {"rows": 3, "below min_score": 2}
    detailed = _read(tmp_path, header("string_detailed") + "\n9606.A 9606.B 0 0 0 0 128 0 70 154\n")
    assert detailed.layout == "STRING links, detailed"


def test_biogrid_genes(tmp_path: Path) -> None:
    rows = [
        biogrid_row("P04637", "Q00987|Q9H4B4", author="Momand J (1992)"),
        biogrid_row("Q00987|Q9H4B4", "P04637", author="Oliner JD (1993)|Wu X (1991)"),
        biogrid_row("P04637", "-", trembl=("-", "A0A1|A0A2"), symbols=("TP53", "NEW1"), author="-"),
        biogrid_row("P04637", "-", symbols=("TP53", "RNA1")),
    ]
    network = _read(tmp_path, "\n".join([header("biogrid_tab3"), *rows]))
    assert _pairs(network) == [("P04637", "Q00987"), ("A0A1", "P04637"), ("P04637", "RNA1")]
    assert network.year is not None
    assert network.year.tolist() == [1991, 0, 1992]
    assert network.score is network.negative is None
    assert network.alternatives["Q00987"][:2] == ("Q9H4B4", "SYMQ00987")
    assert "NP_000537" in network.alternatives["P04637"]
    assert network.alternatives["A0A1"][:2] == ("A0A2", "NEW1")


def test_biogrid_filters(tmp_path: Path) -> None:
    rows = [
        biogrid_row("P1", "P2", throughput="High Throughput"),
        biogrid_row("P1", "P3", throughput="Low Throughput|High Throughput"),
        biogrid_row("P1", "P4", system="genetic"),
        biogrid_row("P1", "V1", taxids=(9606, 2697049)),
    ]
    text = "\n".join([header("biogrid_tab3"), *rows])
    human = _read(tmp_path, text, taxid=(9606,))
    assert _pairs(human) == [("P1", "P2"), ("P1", "P3")]
    assert human.counts == {"rows": 4, "genetic": 1, "another organism": 1}
    low = _read(tmp_path, text, taxid=(9606,), throughput="low")
    assert _pairs(low) == [("P1", "P3")]
    genetic = _read(tmp_path, text, taxid=(9606,), system_type="genetic")
    assert _pairs(genetic) == [("P1", "P4")]
    across = _read(tmp_path, text, taxid=(9606, 2697049))
    assert _pairs(across)[-1] == ("P1", "V1")
    assert across.taxid is not None
    assert dict(zip(across.names, across.taxid.tolist(), strict=True))["V1"] == 2697049


def test_biogrid_with_fewer_columns(tmp_path: Path) -> None:
    """A table that was cut to some columns is read as far as they go."""
    names = [
        "#BioGRID Interaction ID",
        "BioGRID ID Interactor A",
        "BioGRID ID Interactor B",
        "Official Symbol Interactor A",
        "Official Symbol Interactor B",
        "Experimental System Type",
        "SWISS-PROT Accessions Interactor A",
        "SWISS-PROT Accessions Interactor B",
    ]
    row = ["0", "3", "15", "G3", "G15", "physical", "P10003|Q99999", "P10015"]
    network = _read(tmp_path, "\t".join(names) + "\n" + "\t".join(row))
    assert _pairs(network) == [("P10003", "P10015")]
    assert network.alternatives == {"P10003": ("Q99999", "G3"), "P10015": ("G15",)}
    assert network.taxid is network.year is None


def test_two_genes_of_one_symbol_stay_apart(tmp_path: Path) -> None:
    rows = [
        biogrid_row("-", "P2", symbols=("S", "B")),
        biogrid_row("-", "P2", symbols=("S", "B")).replace("\t1S\t", "\t99\t"),
    ]
    network = _read(tmp_path, "\n".join([header("biogrid_tab3"), *rows]))
    assert _pairs(network) == [("P2", "S"), ("P2", "S (biogrid:99)")]


def test_mitab_fields(tmp_path: Path) -> None:
    rows = [
        mitab_row(confidence="intact-miscore:0.40", author="Ito et al. (2001)"),
        mitab_row(confidence="intact-miscore:0.56", author="Doe-1998-a|Roe-2003"),
        mitab_row(b="uniprotkb:P38936-2", confidence="-", author="-", negative="true"),
    ]
    network = _read(tmp_path, mitab(rows))
    assert _pairs(network) == [("P04637", "Q00987"), ("P04637", "P38936-2")]
    assert network.score is not None
    assert network.score[0] == np.float32(0.56)
    assert np.isnan(network.score[1])
    assert network.year is not None
    assert network.year.tolist() == [1998, 0]
    assert network.negative is not None
    assert network.negative.tolist() == [False, True]
    assert network.taxid is not None
    assert network.taxid.tolist() == [9606] * 3
    assert network.alternatives["P04637"] == ("EBI-366083", "TP53")


def test_mitab_filters(tmp_path: Path) -> None:
    pull_down = 'psi-mi:"MI:0096"(pull down)'
    rows = [
        mitab_row("uniprotkb:A", "uniprotkb:B"),
        mitab_row(
            "uniprotkb:A", "uniprotkb:C", method=pull_down, expansion='psi-mi:"MI:1060"(spoke expansion)'
        ),
        mitab_row("uniprotkb:A", "uniprotkb:D", kind='psi-mi:"MI:0407"(direct interaction)'),
        mitab_row(
            "uniprotkb:A",
            'chebi:"CHEBI:15422"',
            types=('psi-mi:"MI:0326"(protein)', 'psi-mi:"MI:0328"(small molecule)'),
        ),
        mitab_row("uniprotkb:A", "-"),
        mitab_row("uniprotkb:A", "uniprotkb:E", confidence="intact-miscore:0.9|author score:3"),
    ]
    text = mitab(rows)
    assert _pairs(_read(tmp_path, text)) == [("A", "B"), ("A", "C"), ("A", "D"), ("A", "E")]
    assert _read(tmp_path, text).counts == {
        "rows": 6,
        "one interactor": 1,
        "not a protein": 1,
        "spoke-expanded, kept": 1,
    }
    for term in ("MI:0096", "mi:0096", "Pull down"):
        assert _pairs(_read(tmp_path, text, detection_method=("MI:9999", term))) == [("A", "C")]
    assert _pairs(_read(tmp_path, text, interaction_type=("direct interaction",))) == [("A", "D")]
    dropped = _read(tmp_path, text, expanded_complexes="drop")
    assert _pairs(dropped) == [("A", "B"), ("A", "D"), ("A", "E")]
    assert dropped.counts["spoke-expanded"] == 1
    assert _pairs(_read(tmp_path, text, expanded_complexes="only")) == [("A", "C")]
    assert _pairs(_read(tmp_path, text, min_score=0.6)) == [("A", "E")]
    assert _pairs(_read(tmp_path, text, score_column="author score", min_score=2)) == [("A", "E")]


def test_mitab_of_other_databases(tmp_path: Path) -> None:
    """DIP lists several identifiers; BioGRID gives the accession among the alternatives."""
    rows = [
        mitab_row("dip:DIP-368N|refseq:NP_000537|uniprotkb:P04637", "dip:DIP-392N", "2.5"),
        mitab_row(
            "entrez gene/locuslink:4193",
            "uniprotkb:P04637",
            "2.5",
            alternatives=("biogrid:110358|entrez gene/locuslink:MDM2|uniprot/swiss-prot:Q00987", "-"),
        ),
    ]
    network = _read(tmp_path, "\n".join(rows))
    assert network.layout == "PSI-MITAB 2.5"
    assert _pairs(network) == [("DIP-392N", "P04637"), ("P04637", "Q00987")]
    assert network.alternatives["Q00987"][:3] == ("4193", "110358", "MDM2")


def test_a_pair_reported_both_ways_is_positive(tmp_path: Path) -> None:
    network = _read(tmp_path, mitab([mitab_row(negative="true"), mitab_row()]))
    assert network.negative is not None
    assert network.negative.tolist() == [False]
    assert network.counts["reported as negative and as positive"] == 1


def test_sif_lines_with_several_partners(tmp_path: Path) -> None:
    network = _read(tmp_path, "# Cytoscape\nA pp B C\nD\nB pp C\nA pp A\n")
    assert network.layout == "SIF"
    assert _pairs(network) == [("A", "B"), ("A", "C"), ("B", "C"), ("A", "A")]
    with_blanks = _read(tmp_path, "hsp 70\tinteracts with\thsp 90\n")
    assert with_blanks.names == ("hsp 70", "hsp 90")


def test_graphml_of_networkx_and_of_cytoscape(tmp_path: Path) -> None:
    graph = networkx.Graph()
    graph.add_edge("P1", "P2", weight=0.5)
    graph.add_edge("P2", "P3", weight=0.9)
    graph.nodes["P1"]["gene"] = "TP53"
    networkx.write_graphml_xml(graph, tmp_path / "networkx")
    network = read_network(tmp_path / "networkx", NetworkFilter(min_score=0.6))
    assert _pairs(network) == [("P2", "P3")]
    assert read_network(tmp_path / "networkx").alternatives == {"P1": ("TP53",)}
    numbered = networkx.convert_node_labels_to_integers(graph, label_attribute="name")
    networkx.write_graphml_xml(numbered, tmp_path / "numbered")
    assert _pairs(read_network(tmp_path / "numbered")) == [("P1", "P2"), ("P2", "P3")]


def test_edge_tables_with_scores(tmp_path: Path) -> None:
    text = columns(FEW, names="node1,node2,weight", delimiter=",", end=",0.25")
    network = _read(tmp_path, text)
    assert network.score is not None
    assert network.score.tolist() == [0.25] * 4
    assert network.negative is None
    assert len(_read(tmp_path, text + "P8,P9,0.75\n", min_score=0.5)) == 1
    dscript = _read(tmp_path, "P1\tP2\t0.93\nP3\tP2\t0.12\n", min_score=0.5)
    assert _pairs(dscript) == [("P1", "P2")]
    labelled = _read(tmp_path, "protein_a\tprotein_b\tlabel\tscore\nP1\tP2\t0\t0.5\n")
    assert labelled.negative is not None
    assert labelled.negative.tolist() == [True]


def test_what_the_site_of_string_exports(tmp_path: Path) -> None:
    text = (
        "#node1\tnode2\tnode1_string_id\tnode2_string_id\texperimentally_determined_interaction\tcombined_score\n"
        "MDM2\tTP53\t9606.ENSP00000258149\t9606.ENSP00000269305\t0.999\t0.998\n"
    )
    network = _read(tmp_path, text, min_score=0.7)
    assert _pairs(network) == [("MDM2", "TP53")]
    assert network.score is not None
    assert network.score[0] == np.float32(0.998)
    by_experiment = _read(tmp_path, text, score_column="experimentally_determined_interaction")
    assert by_experiment.score is not None
    assert by_experiment.score[0] == np.float32(0.999)


def test_mitab_headers_of_other_databases(tmp_path: Path) -> None:
    """DIP's has no `#`, and a trailing tab of the rows is no column of it; others have names of their own."""
    row = mitab_row(version="2.5") + "\t"
    for first in ("ID interactor A\tID interactor B", "#uidA\tuidB", "#ID(s) interactor A"):
        network = _read(tmp_path, f"{first}\n{row}\n")
        assert network.layout == "PSI-MITAB 2.5"
        assert _pairs(network) == [("P04637", "Q00987")]


def test_lines_of_comment_and_repeated_headers(tmp_path: Path) -> None:
    text = biogrid_tab3(FEW[:1]) + biogrid_tab3(FEW[1:])
    assert len(_read(tmp_path, text)) == 4
    assert len(_read(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())) == 4
