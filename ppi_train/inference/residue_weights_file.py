"""The table of an explanation, one row per residue of two proteins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ppi_train.io.files import write_file


def write_residue_weights(
    path: Path, proteins: Sequence[str], weights: Sequence[np.ndarray], sequences: Mapping[str, str]
) -> None:
    """Writes the residue weights of two proteins as TSV.

    The columns are `side`, `protein`, `position` (from 1), `residue` and `weight`.

    Args:
        proteins: Of sides a and b.
        weights: (l,) for each of them.
        sequences: The known sequences, as long as the weights; `residue` is empty for other proteins.
    """
    rows = ["side\tprotein\tposition\tresidue\tweight"]
    for side, protein, values in zip("ab", proteins, weights, strict=True):
        letters = sequences.get(protein) or [""] * len(values)
        rows += [
            f"{side}\t{protein}\t{place}\t{letter}\t{weight:.6g}"
            for place, (letter, weight) in enumerate(zip(letters, values.tolist(), strict=True), start=1)
        ]
    write_file(path, ("\n".join(rows) + "\n").encode())
