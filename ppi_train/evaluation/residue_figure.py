"""The figure of an explanation: the weight of each residue, a panel a protein."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ppi_train.evaluation.figures import BLUE, VERMILLION, new_figure

# Of more residues than a figure has points, each drawn one is the largest of so many.
_COLUMNS = 1200


def residue_weights_figure(proteins: Sequence[str], weights: Sequence[np.ndarray], title: str) -> Figure:
    """The weights (l,) of two proteins' residues, each as the share of its protein's largest one."""
    figure = new_figure(10.0, 4.6)
    # An accession may have $, between which matplotlib would read formulas, and fail.
    figure.suptitle(title, parse_math=False)
    panels = figure.subplots(2, 1)
    for axes, protein, one, colour in zip(panels, proteins, weights, (BLUE, VERMILLION), strict=True):
        stride = -(-len(one) // _COLUMNS)
        starts = np.arange(0, len(one), stride)
        largest = np.maximum.reduceat(one, starts) / max(float(one.max()), 1e-30)
        axes.fill_between(starts + 1, largest, step="post", color=colour, linewidth=0)
        axes.set_xlim(1, len(one) + 1)
        axes.set_ylim(0, 1.05)
        axes.set_title(f"{protein}, {len(one):,} residues", loc="left", fontsize=10, parse_math=False)
        axes.set_ylabel("weight / largest")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("residue")
    return figure
