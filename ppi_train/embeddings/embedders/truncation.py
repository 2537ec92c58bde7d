"""Truncation of proteins that are longer than the limit.

It is decided when embedding, and recorded in the cache.
"""

from __future__ import annotations

from ppi_train.errors import DataError


def truncate(accession: str, sequence: str, *, max_length: int | None, truncation: str) -> str:
    """Truncates a protein to the residues that are embedded.

    `head` keeps the first `max_length` residues; `head_tail` keeps both ends, the longer half first.

    >>> truncate("P1", "ABCDEFG", max_length=5, truncation="head_tail")
    'ABCFG'

    Raises:
        DataError: `truncation` is `error`, and the protein is longer than `max_length`.
    """
    if max_length is None or len(sequence) <= max_length:
        return sequence
    if truncation == "error":
        raise DataError(
            "a protein is longer than max_length",
            where=accession,
            got=f"{len(sequence)} residues",
            expected=f"at most {max_length}",
            remedy="raise max_length, or give truncation=head or truncation=head_tail",
        )
    if truncation == "head_tail":
        tail = max_length // 2
        return sequence[: max_length - tail] + (sequence[-tail:] if tail else "")
    return sequence[:max_length]
