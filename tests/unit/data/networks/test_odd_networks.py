"""Tests of files that are easily misread."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppi_train.data.networks import Network, NetworkFilter, read_network
from ppi_train.errors import DataError
from tests.support.network_layouts import mitab_row


def _read(tmp_path: Path, text: str, **wanted: object) -> Network:
    path = tmp_path / "network"
    path.write_text(text, encoding="utf-8")
    return read_network(path, NetworkFilter(**wanted))  # type: ignore[arg-type]


def _pairs(network: Network) -> list[tuple[str, str]]:
    return [(network.names[a], network.names[b]) for a, b in network.index.tolist()]


@pytest.mark.parametrize(
    "header",
    ["Ensembl_gene_id_a\tEnsembl_gene_id_b", "Gene1.ID\tGene2.ID", "UniprotID_A\tUniprotID_B"],
)
def test_a_header_of_two_sides_is_no_pair(tmp_path: Path, header: str) -> None:
    rows = "ENSG00000000005\tENSG00000061656\nENSG00000000005\tENSG00000099968\n"
    assert _pairs(_read(tmp_path, f"{header}\n{rows}")) == [
        ("ENSG00000000005", "ENSG00000061656"),
        ("ENSG00000000005", "ENSG00000099968"),
    ]


@pytest.mark.parametrize("names", ["HLA-A\tHLA-B", "protein11\tprotein12", "gene_a1\tgene_b1"])
def test_names_that_are_like_each_other_are_a_pair(tmp_path: Path, names: str) -> None:
    assert _pairs(_read(tmp_path, f"{names}\n")) == [tuple(names.split("\t"))]


@pytest.mark.parametrize("text", ["<?xml version='1.0'?><graph label='x'/>\n", '{"nodes": []}\n'])
def test_other_formats_are_no_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="the layout of the network is not known"):
        _read(tmp_path, text)


def test_the_number_of_a_term_is_taken_as_a_whole(tmp_path: Path) -> None:
    row = mitab_row(method='psi-mi:"MI:0045"(experimental)')
    assert len(_read(tmp_path, row, detection_method=("MI:0045",))) == 1
    with pytest.raises(DataError, match="1 another detection method"):
        _read(tmp_path, row, detection_method=("MI:004",))


def test_sif_relations(tmp_path: Path) -> None:
    text = "A pp B\nA pd C\nB interacts D\nC pd D E\n"
    network = _read(tmp_path, text)
    assert _pairs(network) == [("A", "B"), ("B", "D")]
    assert network.counts == {"rows": 5, "not between proteins": 3}
    chosen = _read(tmp_path, text, interaction_type=("pp", "pd"))
    assert _pairs(chosen) == [("A", "B"), ("A", "C"), ("C", "D"), ("C", "E")]
    assert chosen.counts["another relation"] == 1
    with pytest.raises(DataError, match=r"relation: pd \(3\), pp \(1\), interacts \(1\)"):
        _read(tmp_path, text, interaction_type=("x",))


def test_partners_of_a_hub_are_no_relation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a score is not a number"):
        _read(tmp_path, "A\tHUB\tY2H\nB\tHUB\tY2H\nC\tHUB\tY2H\n")


def test_graphml_scores_that_an_edge_lacks(tmp_path: Path) -> None:
    text = (
        "<graphml><key id='k' for='edge' attr.name='weight' attr.type='double'><default>0.75</default></key>"
        "<graph><node id='a'/><node id='b'/><edge source='a' target='b'/>"
        "<edge source='a' target='a'><data key='k'>0.25</data></edge></graph></graphml>"
    )
    network = _read(tmp_path, text)
    assert network.score is not None
    assert network.score.tolist() == [0.75, 0.25]
    assert _pairs(_read(tmp_path, text, min_score=0.5)) == [("a", "b")]
    with pytest.raises(DataError, match="a value of weight is not a number"):
        _read(tmp_path, text.replace("0.75", "high"))
