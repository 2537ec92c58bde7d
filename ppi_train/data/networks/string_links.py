"""STRING's links: `9606.protein.links.v12.0.txt` and its kin.

The columns are those of https://string-db.org/cgi/download (version 12.0): blanks between them, `protein1`,
`protein2`, in the detailed and the full files the channels of evidence, and `combined_score`. The scores are
whole numbers from 0 to 1000. A protein is `9606.ENSP00000269305`: the NCBI number of its species, and the
identifier there. Each pair is listed in both directions.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from ppi_train.data.networks.base import Network, NetworkFilter
from ppi_train.data.networks.collect import Collector, Interactor
from ppi_train.data.networks.table import CODED, Source, Table
from ppi_train.errors import DataError, nearest

# Longer numbers are no taxids, and would not fit.
_SPECIES = re.compile(r"([0-9]{1,9})\.")
_COMBINED = "combined_score"
# The first belongs to the full files only, the second to those that list the channels.
_FULL, _DETAILED = "textmining_transferred", "textmining"


def recognises(source: Source) -> bool:
    """Whether the first line is the header of a STRING file."""
    names = _header(source)
    return names[:2] == ["protein1", "protein2"] and _COMBINED in names


def read(source: Source, wanted: NetworkFilter) -> Network:
    """Reads a links file; see `read_network`."""
    names = _header(source)
    layout = "STRING links"
    for mark, detail in ((_FULL, "full"), (_DETAILED, "detailed")):
        if mark in names:
            layout += f", {detail}"
            break
    wanted.refuse_others(("min_score", "score_column", "taxid"), layout, source.path)
    score = _score_column(names, wanted, source.path)
    table = Table(
        source=source.path,
        delimiter="\t" if "\t" in source.head[0] else " ",
        names=tuple(names),
        types={0: CODED, 1: CODED, score: pa.float32()},
        needed=(0, 1),
    )
    collector = Collector(layout, source.path, wanted)
    for block in source.blocks():
        columns = table.parse(block, header=block.line == 1)
        scores = columns[score].to_numpy()
        rows = collector.rows(len(scores))
        if wanted.min_score is not None:
            rows.drop(scores < wanted.min_score, "below min_score")
        ends = np.stack([collector.numbers(columns[side], _interactor) for side in (0, 1)])
        collector.add(rows, ends, score=scores)
    return collector.network()


def _header(source: Source) -> list[str]:
    return source.head[0].split()


def _interactor(name: str, _row: int) -> Interactor:
    species = _SPECIES.match(name)
    return Interactor(name, int(species.group(1)) if species else 0)


def _score_column(names: list[str], wanted: NetworkFilter, source: str) -> int:
    """The position of the wanted score."""
    if wanted.min_score is not None and 0 < wanted.min_score < 1:
        raise DataError(
            "min_score is not on the scale of STRING",
            where=source,
            got=wanted.min_score,
            expected="a number from 0 to 1000",
            remedy=f"give min_score={wanted.min_score * 1000:g}",
        )
    column = wanted.score_column or _COMBINED
    if column not in names[2:]:
        raise DataError(
            f"the network has no score {column}",
            where=source,
            expected=f"score_column among {', '.join(names[2:])}",
            remedy=nearest(column, names[2:]),
        )
    return names.index(column)
