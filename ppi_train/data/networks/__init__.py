"""Readers of networks as they are downloaded, recognised by their content.

docs/reference/network-files.md lists the layouts, and what each can be filtered by.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

from ppi_train.data.networks import biogrid, edge_table, graphml, mitab, sif, string_links
from ppi_train.data.networks.base import KIND, Network, NetworkFilter
from ppi_train.data.networks.table import Source
from ppi_train.errors import DataError
from ppi_train.io.packed import unpacked_parts

__all__ = ["Network", "NetworkFilter", "read_network"]

# The edge table comes last: it is what has few marks of its own.
_LAYOUTS: tuple[tuple[Callable[[Source], bool], Callable[[Source, NetworkFilter], Network]], ...] = (
    (graphml.recognises, graphml.read),
    (string_links.recognises, string_links.read),
    (biogrid.recognises, biogrid.read),
    (mitab.recognises, mitab.read),
    (sif.recognises, sif.read),
    (edge_table.recognises, edge_table.read),
)
_NO_FILTER = NetworkFilter()
_ZIP = b"PK\x03\x04"


def read_network(path: str | Path, wanted: NetworkFilter = _NO_FILTER) -> Network:
    """Reads a downloaded network, plain or packed by gzip, bzip2 or zstd.

    The layouts are STRING's links, BioGRID's TAB2 and TAB3, PSI-MITAB 2.5 to 2.8 (IntAct, MINT, DIP),
    Cytoscape's SIF, GraphML, and tables of pairs with or without a header. A large file is read in one pass,
    in memory that depends on the number of rows that are kept.

    Args:
        path: The file.
        wanted: What of it is taken.

    Raises:
        DataError: the file is absent, empty, cut short or damaged, or of no known layout; with the line: a
            wrong number of columns, a score that is no number; the layout cannot be filtered as wanted;
            nothing is left; there are several organisms, and `wanted` names none.
    """
    parts = unpacked_parts(path, KIND)
    first = next(parts)
    source = Source(str(path), first, chain([first], parts))
    # The bytes of an archive may look like two columns, by its time alone.
    if not source.head or source.first.startswith(_ZIP):
        raise _unknown_layout(source)
    for recognises, read in _LAYOUTS:
        if recognises(source):
            return read(source, wanted)
    raise _unknown_layout(source)


def _unknown_layout(source: Source) -> DataError:
    seen = repr(source.head[0][:200]) if source.head else "blank lines only"
    packed = source.first.startswith(_ZIP)
    return DataError(
        "the network is a zip archive" if packed else "the layout of the network is not known",
        where=source.path,
        got=None if packed else seen,
        expected="links of STRING, TAB2 or TAB3 of BioGRID, PSI-MITAB, SIF, GraphML, or two columns of names",
        remedy="unpack it, and name the file in it" if packed else None,
    )
