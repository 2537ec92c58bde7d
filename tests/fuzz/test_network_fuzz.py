"""Fuzz tests of downloaded networks, in every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from ppi_train.data.networks import read_network
from tests.support.mutations import broken
from tests.support.network_layouts import LAYOUTS, string_links
from tests.support.watched import outcome

pytestmark = pytest.mark.slow

_PAIRS = [("P1", "P2"), ("P2", "P3"), ("P1", "P3"), ("P3", "P3"), ("P2", "P1")]
WHOLE = {
    "string": string_links(_PAIRS).encode(),
    **{name: write(_PAIRS).encode() for name, (_, write) in LAYOUTS.items()},
}
WORDS = {
    "string": (b"9606.", b"10090.", b"99999999999.", b" ", b"combined_score", b"0.5"),
    "biogrid": (b"genetic", b"-", b"|", b"#BioGRID Interaction ID", b'"', b"(1999)"),
    "mitab": (
        b"-",
        b"|",
        b'psi-mi:"',
        b'"',
        b"taxid:",
        b"taxid:99999999999",
        b"uniprotkb:",
        b"(",
        b"true",
        b":",
    ),
    "sif": (b" pp ", b"\tpp\t", b"\n\n", b"#"),
    "graphml": (
        b"<node id='a'>",
        b"</node>",
        b"<edge source='P1' target='P2'>",
        b"<key id='k' for='edge' attr.name='weight'/>",
        b"<data key='k'>",
        b"</data>",
        b"<!DOCTYPE a>",
        b"<![CDATA[",
        b"&#0;",
        b"&a;",
        b"<?xml version='1.0' encoding='x'?>",
        b"encoding='utf-16'",
        b"xmlns:g='g' ",
    ),
    "": (b"protein_a", b"label", b"score", b"weight", b"nan", b"inf"),
}


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    """A name to write to, over and over."""
    return folder / "file"


def _read(path: Path) -> None:
    network = read_network(path)
    assert len(network) > 0
    assert list(network.names) == sorted(set(network.names))
    assert set(network.index.ravel().tolist()) == set(range(len(network.names)))
    assert np.all(network.index[:, 0] <= network.index[:, 1])
    for values in (network.score, network.year, network.negative):
        assert values is None or len(values) == len(network)
    assert network.taxid is None or len(network.taxid) == len(network.names)
    repr(network)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read(name: str, file: Path) -> None:
    """So that the damaged ones get past the first line."""
    file.write_bytes(WHOLE[name])
    assert outcome(lambda: _read(file)) is None


@pytest.mark.parametrize("kind", WORDS)
def test_damaged_networks(kind: str, file: Path) -> None:
    whole = [data for name, data in WHOLE.items() if name.startswith(kind)]

    @given(data=broken(whole, WORDS[kind]))
    def damaged(data: bytes) -> None:
        file.write_bytes(data)
        outcome(lambda: _read(file))

    damaged()
