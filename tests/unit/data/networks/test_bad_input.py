"""Tests of networks that cannot be used: one message each, with the place and what to do."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from ppi_train.data.networks import NetworkFilter, read_network
from ppi_train.errors import ConfigError, DataError
from tests.support.network_layouts import biogrid_row, columns, header, mitab, mitab_row, string_links

LINKS = header("string_links")
BILLION = (
    "<?xml version='1.0'?><!DOCTYPE g [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]>"
    '<graphml><graph><node id="&b;"/></graph></graphml>'
)


def _message(tmp_path: Path, text: str | bytes, **wanted: object) -> str:
    path = tmp_path / "network"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        read_network(path, NetworkFilter(**wanted))  # type: ignore[arg-type]
    return str(caught.value).replace(str(path), "NETWORK")


def _zip(seconds: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        member = zipfile.ZipInfo("intact.txt", (2026, 1, 1, 0, 0, seconds))
        archive.writestr(member, "a")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["the network is empty"]),
        ("\n \n", ["the layout of the network is not known", "blank lines only"]),
        (_zip(), ["the network is a zip archive", "unpack it, and name the file in it"]),
        (_zip(seconds=18), ["the network is a zip archive"]),  # written as a tab: two columns, by their look
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:aa\n",
            ["the network is a git-LFS pointer", "git lfs pull"],
        ),
        ("<!DOCTYPE html><html>", ["the network is a web page"]),
        (
            "chr1\t100\t200\tgene\t0\t+\n",
            ["the layout of the network is not known", "chr1", "PSI-MITAB, SIF, GraphML, or two columns"],
        ),
        (f"{LINKS}\n", ["the network has no pairs", "a header only"]),
        (
            f"{LINKS}\n9606.A 9606.B high\n",
            ["NETWORK, line 2", "combined_score is not a number", "'high'"],
        ),
        (f"{LINKS}\n9606.A 9606.B 1\n9606.A 9606.B NA\n", ["NETWORK, line 3", "'NA'"]),
        (
            f"{LINKS}\n9606.A 9606.B 900\n9606.A 9606.B\n",
            ["NETWORK, line 3", "2 in", "3, as in the first row"],
        ),
        (f"{LINKS}\n9606.A  900\n", ["NETWORK, line 2", "a row has no name"]),
        (f"{LINKS}\n9606.A 9606.\xff 900\n".encode("latin-1"), ["NETWORK, line 2", "UTF-8", "0xff"]),
        (f"{LINKS}\n9606.A 9606.B 900\0\n", ["the network is not text"]),
        (
            f"{LINKS}\n{'A' * (3 << 20)} 9606.B 900\n",
            ["NETWORK, line 2", "a line of the network is too long"],
        ),
        (f"{LINKS}\n9606.{'A' * 2000} 9606.B 900\n", ["a name in the network is too long", "2,005 letters"]),
        (
            mitab([mitab_row(), mitab_row().rpartition("\t")[0]]),
            ["NETWORK, line 3", "a row has the wrong number of columns", "41 in", "42, as in the first row"],
        ),
        (
            header("biogrid_tab3").replace("Experimental System Type", "Kind") + "\n",
            ["the network has no column Experimental System Type", "NETWORK, line 1"],
        ),
        ("A pp B\nA pp\nA pp C\n", ["NETWORK, line 2", "number of columns"]),
        (
            "A\tpp\tB\nA\tpp\tC\tD\n" * 30 + "A\tpp\n",
            ["NETWORK, line 61", "neither a protein nor", "A pp B C"],
        ),
        (BILLION, ["the GraphML file has a document type"]),
        ("<graphml><graph><node id='a'/>", ["the GraphML file is cut short", "line 1"]),
        (
            "<graphml><graph><node id='a'/><edge source='a' target='b'/></graph></graphml>",
            ["an edge has an end that is no node", "got: b"],
        ),
        ("P1\tP2\t1\nP1\tP2\t0\n", ["1 pair has both labels", "NETWORK, line 1 and line 2"]),
        ("P1\tP2\t0.5\nP1\tP3\tyes\n", ["a score is not a number", "NETWORK, line 2", "'yes'"]),
        ("P1\t\nP2\tP3\n", ["a pair has no protein_b", "NETWORK, line 1"]),
        (columns([("MKV" * 20, "ACD" * 20)] * 3), ["holds sequences, not accessions"]),
    ],
)
def test_one_message_with_its_place(text: str | bytes, parts: list[str], tmp_path: Path) -> None:
    message = _message(tmp_path, text)
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    ("text", "wanted", "parts"),
    [
        (
            string_links([("A", "B")]),
            {"system_type": "physical", "expanded_complexes": "drop"},
            [
                "cannot be filtered by system_type, expanded_complexes",
                "STRING links",
                "min_score, score_column, taxid",
            ],
        ),
        (
            columns([("A", "B")]),
            {"min_score": 0.5, "taxid": (9606,)},
            ["by min_score, taxid", "two columns"],
        ),
        (
            mitab([mitab_row(version="2.5")], "2.5"),
            {"expanded_complexes": "drop"},
            ["cannot be filtered by expanded_complexes", "PSI-MITAB 2.5"],
        ),
        (string_links([("A", "B")]), {"min_score": 0.7}, ["min_score is not on the scale", "min_score=700"]),
        (
            string_links([("A", "B")]),
            {"score_column": "combined_scores"},
            ["has no score combined_scores", "did you mean combined_score?"],
        ),
        ("P1\tP2\n", {"score_column": "weight"}, ["the network has no column weight"]),
        (
            header("biogrid_tab3") + "\n" + biogrid_row(system="genetic") + "\n",
            {},
            ["leaves nothing", "1 rows, left out: 1 genetic", "Experimental System Type: genetic (1)"],
        ),
        (
            mitab([mitab_row(), mitab_row()]),
            {"detection_method": ("MI:0096",)},
            ["leaves nothing", "2 another detection method", 'psi-mi:"MI:0018"(two hybrid) (2)'],
        ),
        (string_links([("A", "B")]), {"taxid": (9606,)}, ["leaves nothing", "2 another organism"]),
    ],
)
def test_filters_that_do_not_fit(
    text: str, wanted: dict[str, object], parts: list[str], tmp_path: Path
) -> None:
    message = _message(tmp_path, text, **wanted)
    assert [part for part in parts if part not in message] == [], message


def test_several_organisms_without_a_choice(tmp_path: Path) -> None:
    human = [mitab_row(b=f"uniprotkb:H{number}") for number in range(5)]
    mouse = [
        mitab_row(b="uniprotkb:M1", taxids=("taxid:9606(human)", 'taxid:10090(mouse)|taxid:10090("Mus")'))
    ]
    vitro = [mitab_row(b="uniprotkb:V1", taxids=("taxid:9606(human)", "taxid:-2(chemical synthesis)"))]
    message = _message(tmp_path, mitab([*human, *mouse, *vitro]))
    assert "the network has interactions of 2 organisms" in message
    assert "taxid 9606 in 7 rows, taxid 10090 in 1 rows" in message
    assert "give taxid=9606, or taxid=9606,10090 for the pairs of and between both" in message


@pytest.mark.parametrize(
    ("text", "packing"),
    [
        (gzip.compress(string_links([("A", "B")] * 99).encode(), mtime=0)[:-9], "gzip"),
        (b"\x28\xb5\x2f\xfd" + b"\x04" * 40, "zstd"),
        (b"BZh9" + b"\x04" * 40, "bzip2"),
    ],
)
def test_damaged_packed_files(text: bytes, packing: str, tmp_path: Path) -> None:
    assert f"the {packing} file is cut short or damaged" in _message(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the network is not there"):
        read_network(tmp_path / "absent")
    with pytest.raises(DataError, match="the network is a directory"):
        read_network(tmp_path)


def test_unknown_values_of_a_filter() -> None:
    with pytest.raises(ConfigError, match="expanded_complexes has an unknown value"):
        NetworkFilter(expanded_complexes="remove")
    with pytest.raises(ConfigError, match="physical or genetic"):
        NetworkFilter(system_type="chemical")
