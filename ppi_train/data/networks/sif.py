"""Cytoscape's simple interaction format: `A pp B`, several partners in a line, or a single protein.

The format is defined at https://manual.cytoscape.org/en/stable/Supported_Network_File_Formats.html. If there
is a tab anywhere in the file, tabs stand between the fields, and blanks belong to the names. Relations that
the manual lists for anything but two proteins, such as `pd` for a protein and DNA, are left out unless they
are asked for as `interaction_type`.
"""

from __future__ import annotations

from array import array

import numpy as np
import pyarrow as pa

from ppi_train.data.networks.base import KIND, Network, NetworkFilter
from ppi_train.data.networks.collect import Collector, Interactor
from ppi_train.data.networks.table import Source, by_value
from ppi_train.data.pair_columns import known_columns
from ppi_train.errors import DataError
from ppi_train.io.files import text_lines

_LAYOUT = "SIF"
# Relations that the manual lists, and the one that Cytoscape writes by default.
_OTHERS = {"pd", "pr", "rc", "cr", "gl", "pm", "mp"}
_RELATIONS = {"pp", "interacts with", *_OTHERS}


def recognises(source: Source) -> bool:
    """Whether the first lines are names with a relation between them, which repeats or is well known."""
    delimiter = "\t" if any("\t" in line for line in source.head) else None
    lines = [line.split(delimiter) for line in source.head if not line.startswith("#")]
    edges = [fields for fields in lines if len(fields) > 2]
    if not edges or any(len(fields) == 2 for fields in lines) or known_columns(edges[0]):
        return False
    relations = {fields[1] for fields in edges}
    names = {name for fields in edges for name in (fields[0], *fields[2:])}
    if relations & names:
        return relations <= _RELATIONS
    partners = {name for fields in edges for name in fields[2:]}
    # Else the second column may be the partners of a hub, and the third says how they were found.
    repeated = len(relations) <= len(edges) // 2 and len(relations) < len(partners)
    numbers = any(_is_number(fields[2]) for fields in edges)
    return bool(relations & _RELATIONS) or (repeated and not numbers)


def read(source: Source, wanted: NetworkFilter) -> Network:
    """Reads a SIF file; see `read_network`."""
    wanted.refuse_others(("interaction_type",), _LAYOUT, source.path)
    data = source.whole()
    delimiter = "\t" if b"\t" in data else None
    collector = Collector(_LAYOUT, source.path, wanted)
    a, b, relations = array("i"), array("i"), []
    for number, line in text_lines(source.path, KIND, data):
        if line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split(delimiter)]
        if len(fields) == 2 or not all(fields):
            raise DataError(
                "a line is neither a protein nor a protein, a relation and its partners",
                where=f"{source.path}, line {number}",
                got=repr(line[:80]),
                expected="such as `A pp B C`",
            )
        first = collector.number(Interactor(fields[0]))
        for partner in fields[2:]:
            a.append(first)
            b.append(collector.number(Interactor(partner)))
            relations.append(fields[1])
    rows = collector.rows(len(a))
    column = pa.array(relations, pa.string()).dictionary_encode()
    collector.saw("relation", column)
    if wanted.interaction_type:
        rows.drop(
            by_value(column, lambda text: text not in wanted.interaction_type, bool), "another relation"
        )
    else:
        rows.drop(by_value(column, _OTHERS.__contains__, bool), "not between proteins")
    collector.add(rows, np.array([a, b], np.int32))
    return collector.network()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
