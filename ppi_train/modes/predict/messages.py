"""What `predict` prints at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppi_train.errors import counted
from ppi_train.inference.output import Annotations
from ppi_train.inference.prediction import PredictionCounts

# Longest description in a line of the best partners.
_DESCRIPTION = 50


def best_partners_text(
    query: int, partners: Sequence[tuple[int, float]], proteins: Sequence[str], annotations: Annotations
) -> str:
    """The best partners of a protein as a text table.

    Args:
        query: Number of the protein.
        partners: Numbers of its partners, and the probabilities, the best first.
        proteins: Accessions by number.
        annotations: Genes and descriptions of the proteins, and marks of the pairs.
    """
    if not partners:
        return f"no pair of {proteins[query]} is kept"
    rows = [("", "partner", "probability", *annotations.marks, *annotations.texts)]
    for place, (partner, probability) in enumerate(partners, start=1):
        a, b = np.array([query]), np.array([partner])
        marks = ["yes" if pairs.contains(a, b)[0] else "no" for pairs in annotations.marks.values()]
        texts = [(values[partner] or "")[:_DESCRIPTION] for values in annotations.texts.values()]
        rows.append((str(place), proteins[partner], f"{probability:.4f}", *marks, *texts))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([f"the best partners of {proteins[query]}", *(f"  {line}" for line in lines)])


def files_text(counts: PredictionCounts, output: Path, edges: Path | None) -> str:
    """Every file that was written, with its rows."""
    written = [f"{output.absolute()} ({counted(counts.kept, 'row')})"]
    if edges:
        written.append(f"{edges.absolute()} ({counted(counts.kept, 'edge')})")
    return f"{counts.kept:,} of {counts.pairs:,} pairs kept; written: {', '.join(written)}"
