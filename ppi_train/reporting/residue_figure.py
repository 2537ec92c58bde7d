"""The figure of an explanation: residue weights, one panel per protein."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ppi_train.reporting.figures import BLUE, VERMILLION, new_figure

# A longer protein is drawn in at most this many columns, each with the largest weight of its residues.
_COLUMNS = 1200


def residue_weights_figure(proteins: Sequence[str], weights: Sequence[np.ndarray], title: str) -> Figure:
    """Draws the residue weights of two proteins, relative to the largest.

    Each protein's weights (l,) are divided by its own largest weight.
    """
    figure = new_figure(10.0, 4.6)
    # An accession may contain $, and matplotlib would fail to parse the text between as a formula.
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(2, 1)
    for axes, protein, values, colour in zip(panels, proteins, weights, (BLUE, VERMILLION), strict=True):
        stride = -(-len(values) // _COLUMNS)
        starts = np.arange(0, len(values), stride)
        largest = np.maximum.reduceat(values, starts) / max(float(values.max()), 1e-30)
        axes.fill_between(starts + 1, largest, step="post", color=colour, linewidth=0)
        axes.set_xlim(1, len(values) + 1)
        axes.set_ylim(0, 1.05)
        axes.set_title(f"{protein}, {len(values):,} residues", loc="left", fontsize=10, parse_math=False)
        axes.set_ylabel("weight / largest")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("residue")
    return figure
