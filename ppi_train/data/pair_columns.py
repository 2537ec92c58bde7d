"""The columns of a table of protein pairs, by the names that its header may give them."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from ppi_train.errors import DataError

logger = logging.getLogger(__name__)

COLUMNS = ("protein_a", "protein_b", "label")
# Other names of the columns, without blanks and signs; a pair of names counts only together.
_PARTNERS = (
    *(
        (f"{name}{first}", f"{name}{second}")
        for name in (
            "protein",
            "proteinid",
            "interactor",
            "idinteractor",
            "uniprot",
            "uniprotid",
            "gene",
            "geneid",
            "node",
        )
        for first, second in (("a", "b"), ("1", "2"), ("0", "1"))
    ),
    ("uniprotaca", "uniprotacb"),
    ("seq1", "seq2"),
    ("source", "target"),
)
_LABELS = ("label", "labels", "interaction", "interacts", "isinteraction")
# What else two columns may be named by, if their names differ by one of these pairs of letters only.
_NOUN = re.compile("gene|protein|interactor|uniprot|ensembl|entrez")
_SIDES = ([("a", "b")], [("1", "2")], [("0", "1")])
_PLAIN = re.compile(r"[^a-z0-9]")


def known_columns(names: Sequence[str]) -> dict[str, int]:
    """The position of each of our columns in a header; empty where its names are not known."""
    plain = [_PLAIN.sub("", name.lower()) for name in names]
    for first, second in _PARTNERS:
        if first in plain and second in plain:
            label = next((plain.index(name) for name in _LABELS if name in plain), None)
            found = {"protein_a": plain.index(first), "protein_b": plain.index(second)}
            return found if label is None else {**found, "label": label}
    return {"protein_a": 0, "protein_b": 1} if _is_two_sides(plain) else {}


def _is_two_sides(plain: Sequence[str]) -> bool:
    """Whether two columns, and no others, are named for two proteins.

    >>> _is_two_sides(["ensemblgeneida", "ensemblgeneidb"])
    True
    """
    if len(plain) != 2 or len(plain[0]) != len(plain[1]) or not _NOUN.search(plain[0]):
        return False
    sides = [pair for pair in zip(*plain, strict=True) if pair[0] != pair[1]]
    same = [first for first, second in zip(*plain, strict=True) if first == second]
    return sides in _SIDES and not any(letter.isdigit() for letter in same)


def column_positions(names: Sequence[str], where: str, scores: Sequence[str] = ()) -> dict[str, int]:
    """The position of each of our columns in a header.

    Args:
        names: The header.
        where: The path and the line, for messages.
        scores: Names that a column of scores may have, the most wanted first.

    Raises:
        DataError: a column is missing, or is there twice.
    """
    lowered = [name.strip().lower() for name in names]
    repeated = [name for name in COLUMNS if lowered.count(name) > 1]
    found = known_columns(names)
    score = next((lowered.index(name.lower()) for name in scores if name.lower() in lowered), None)
    if score is not None and score not in found.values():
        found["score"] = score
    missing = [name for name in COLUMNS[:2] if name not in lowered]
    if repeated or (missing and "protein_a" not in found):
        raise DataError(
            f"the header has {repeated[0]} twice"
            if repeated
            else f"the header has no {' and no '.join(missing)}",
            where=where,
            got=", ".join(names),
            expected="protein_a, protein_b and, except for prediction, label",
        )
    for ours, at in found.items():
        if lowered[at] != ours:
            logger.info("%s: the column %s is taken as %s", where, names[at], ours)
    ignored = [name for position, name in enumerate(names) if position not in found.values()]
    if ignored and (not scores or "score" in found):  # else the scores may be looked for under other names
        logger.info("%s: ignored columns: %s", where, ", ".join(ignored[:10]))
    return found
