"""GraphML, as networkx, igraph and Cytoscape write it.

The elements are those of http://graphml.graphdrawing.org/specification.html. A node's name is its `id`. Where
all ids are mere numbers, as those of igraph and Cytoscape (`n0`, `62`), it is the attribute `name` instead.
A document type is refused: GraphML needs none, and entities can grow without bound.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from xml.parsers import expat

import numpy as np

from ppi_train.data.networks.base import Network, NetworkFilter
from ppi_train.data.networks.collect import Collector, Interactor
from ppi_train.data.networks.edge_table import SCORES
from ppi_train.data.networks.table import Source
from ppi_train.errors import DataError, first_line, nearest

_LAYOUT = "GraphML"
_LONGEST_TEXT = 10_000
_NUMBER = re.compile(r"n?\d+")
_NAMES = ("name", "shared name")
_ALTERNATIVES = (*_NAMES, "gene", "gene name", "uniprot", "accession")


def recognises(source: Source) -> bool:
    """Whether the first element is `graphml`."""
    return source.first[:100].lstrip().startswith(b"<") and b"<graphml" in source.first[:10_000]


def read(source: Source, wanted: NetworkFilter) -> Network:
    """Reads a GraphML file; see `read_network`."""
    reader = _Reader(source.path, wanted)
    try:
        for part in source.parts:
            reader.parser.Parse(part, False)
        reader.parser.Parse(b"", True)
    except DataError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two for unknown encodings
        raise DataError(
            "the GraphML file is cut short or damaged", where=source.path, got=first_line(error)
        ) from error
    return reader.network()


class _Reader:
    """Takes nodes and edges from the events of a parser."""

    def __init__(self, source: str, wanted: NetworkFilter) -> None:
        self._source, self._wanted = source, wanted
        # For nodes and for edges, the name of the attribute of each key.
        self._keys: dict[str, dict[str, str]] = {"node": {}, "edge": {}}
        self._nodes: dict[str, dict[str, str]] = {}
        self._ends = array("i")
        self._numbers: dict[str, int] = {}
        self._scores = array("f")
        # The edge attribute that was declared last, and the values of attributes that an edge lacks.
        self._declared = ""
        self._defaults: dict[str, str] = {}
        self._inside, self._key, self._text = "", "", ""
        self._node: dict[str, str] = {}
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _place(self) -> str:
        return f"{self._source}, line {self.parser.CurrentLineNumber}"

    def _doctype(self, *_: object) -> None:
        raise DataError("the GraphML file has a document type", where=self._place(), expected="no <!DOCTYPE>")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        element = tag.rpartition(" ")[2]
        if element == "key":
            self._declare(attributes)
        elif element == "node":
            self._inside = "node"
            self._node = self._nodes.setdefault(self._attribute(attributes, "id"), {})
        elif element == "edge":
            self._inside = "edge"
            for end in ("source", "target"):
                name = self._attribute(attributes, end)
                self._ends.append(self._numbers.setdefault(name, len(self._numbers)))
            self._scores.append(np.nan)
            score = self._score_name()
            if score in self._defaults:
                self._scores[-1] = self._number(score, self._defaults[score])
        elif element == "default":
            self._key, self._text = self._declared, ""
        elif element == "data":
            self._key, self._text = attributes.get("key", ""), ""

    def _declare(self, attributes: Mapping[str, str]) -> None:
        name, kind = attributes.get("attr.name", ""), attributes.get("for", "all")
        self._declared = name if kind in ("edge", "all") else ""
        for element in ("node", "edge") if kind == "all" else (kind,):
            if element in self._keys:
                self._keys[element][self._attribute(attributes, "id")] = name

    def _attribute(self, attributes: Mapping[str, str], name: str) -> str:
        value = attributes.get(name, "").strip()
        if not value:
            raise DataError(f"an element has no {name}", where=self._place(), expected=f"an attribute {name}")
        return value

    def _characters(self, text: str) -> None:
        if self._key and len(self._text) <= _LONGEST_TEXT:
            self._text += text

    def _end(self, tag: str) -> None:
        element = tag.rpartition(" ")[2]
        if element == "data":
            self._data(self._keys.get(self._inside, {}).get(self._key, ""), self._text.strip())
            self._key = ""
        elif element == "default":
            if self._key:
                self._defaults[self._key] = self._text.strip()
            self._key = ""
        elif element == self._inside:
            self._inside = ""

    def _data(self, name: str, text: str) -> None:
        """Takes an attribute of the node or the edge that was begun last."""
        if self._inside == "node" and text and name.lower() in _ALTERNATIVES:
            self._node[name.lower()] = text
        elif self._inside == "edge" and name and name == self._score_name():
            self._scores[-1] = self._number(name, text)

    def _number(self, name: str, text: str) -> float:
        try:
            return float(text)
        except ValueError as error:
            raise DataError(
                f"a value of {name} is not a number",
                where=self._place(),
                got=repr(text),
                expected="a number",
            ) from error

    def _score_name(self) -> str | None:
        names = list(self._keys["edge"].values())
        if self._wanted.score_column is None:
            return next((name for name in SCORES if name in names), None)
        if self._wanted.score_column not in names:
            raise DataError(
                f"the network has no attribute {self._wanted.score_column}",
                where=self._source,
                expected=f"score_column among {', '.join(names)}",
                remedy=nearest(self._wanted.score_column, names),
            )
        return self._wanted.score_column

    def network(self) -> Network:
        """The pairs of the edges."""
        has_scores = self._score_name() is not None
        self._wanted.refuse_others(("min_score", "score_column") if has_scores else (), _LAYOUT, self._source)
        missing = [name for name in self._numbers if name not in self._nodes]
        if missing:
            raise DataError(
                "an edge has an end that is no node",
                where=self._source,
                got=missing[0],
                expected="the id of a node",
            )
        collector = Collector(_LAYOUT, self._source, self._wanted)
        numeric = all(_NUMBER.fullmatch(name) for name in self._nodes)
        interactors = (self._interactor(name, numeric) for name in self._numbers)
        numbers = np.array([collector.number(interactor) for interactor in interactors], np.int32)
        rows = collector.rows(len(self._scores))
        ends = np.array(self._ends, np.int64).reshape(-1, 2).T
        score = np.array(self._scores, np.float32)
        if self._wanted.min_score is not None:
            rows.drop(np.isnan(score), "without a score")
            rows.drop(score < self._wanted.min_score, "below min_score")
        collector.add(rows, numbers[ends], **({"score": score} if has_scores else {}))
        return collector.network()

    def _interactor(self, identifier: str, numeric: bool) -> Interactor:
        attributes = self._nodes[identifier]
        names = [attributes[name] for name in _NAMES if name in attributes]
        others = tuple(attributes[name] for name in _ALTERNATIVES if name in attributes)
        return Interactor(names[0] if names and numeric else identifier, 0, others)
