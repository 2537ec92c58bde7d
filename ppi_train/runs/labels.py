"""The name of a data set, from where its files lie."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ppi_train.runs.prepared_tables import RECORD

_PACKED, _TEXT = {".gz", ".bz2", ".zst"}, {".txt", ".tsv", ".csv", ".sif", ".graphml", ".parquet"}
# Such names say which side of a data set a table is, and not which data set.
_SIDE = re.compile(r"(train|training|val|valid|validation|test|pairs)([_-]pairs)?", re.IGNORECASE)


def data_label(path: str | Path) -> str:
    """The name of a network or pair table without what says how it is written.

    A table that is called after its side only, such as `train.tsv`, is named after what it was prepared from,
    or else after its folder.

    >>> data_label("data/9606.protein.links.v12.0.txt.gz")
    '9606.protein.links.v12.0'
    >>> data_label("/home/me/yeast/train_pairs.tsv")
    'yeast'
    """
    name = _bare_name(Path(path))
    source = Path(_prepared_from(Path(path)) or path) if _SIDE.fullmatch(name) else Path(path)
    name = _bare_name(source)
    return (source.absolute().parent.name or name) if _SIDE.fullmatch(name) else name


def _bare_name(path: Path) -> str:
    for endings in (_PACKED, _TEXT):
        path = path.with_suffix("") if path.suffix.lower() in endings else path
    return path.name


def _prepared_from(table: Path) -> str | None:
    """The user's file that a prepared table was made from."""
    try:
        record = json.loads((table.parent / RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    drawn_from = record.get("drawn_from")
    source = drawn_from.get(table.stem) if isinstance(drawn_from, dict) else record.get("network")
    return source if isinstance(source, str) else None
