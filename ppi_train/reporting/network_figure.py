"""Figures of a true and a predicted network with the same layout.

They show a part of the network with few enough proteins to be readable.

Legend of shapes: n drawn proteins, m tested pairs, e edges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ppi_train.reporting.figures import BLUE, INK, VERMILLION, new_figure

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

PURPLE = "#7B3294"


class Pen(NamedTuple):
    """How edges of a kind are drawn; distinguishable in greyscale, too."""

    colour: str
    style: Literal["-", "--", ":"]
    width: float


FOUND, MISSED, FALSE = Pen(BLUE, "-", 1.3), Pen(VERMILLION, "--", 1.5), Pen(PURPLE, ":", 1.5)
_BRANCHES = 4  # partners that the walk takes from each protein: a hub would fill the picture by itself
_STEPS = 200
_LONGEST_NAME = 12


@dataclass(frozen=True, kw_only=True)
class DrawnNetwork:
    """A part of the tested pairs, ready to be drawn.

    Attributes:
        names: n accessions.
        places: (n, 2) where each is drawn, within -1 to 1.
        found, missed, false: (e, 2) numbers of names: true pairs that were called, true pairs that were not,
            and pairs that were called and are not true.
        tested: How many pairs of these proteins were tested; no other pairs can be drawn.
    """

    names: tuple[str, ...]
    places: Floats
    found: Integers
    missed: Integers
    false: Integers
    tested: int


def readable_part(
    proteins: Sequence[str],
    true: Integers,
    called: Integers,
    *,
    tested: Integers | None = None,
    size: int = 24,
) -> DrawnNetwork:
    """Selects a connected part of the true network and its predicted edges.

    It starts at the protein with most true partners and continues breadth-first, with at most four new
    partners of each protein; it does not depend on the predictions. Self interactions are left out.

    Args:
        proteins: All accessions.
        true: (t, 2) numbers of them: the true edges, each once.
        called: (c, 2) the predicted edges, each once.
        tested: (m, 2) the pairs that a prediction was made for, each once; None for all pairs.
        size: The largest number of proteins drawn.
    """
    true = true[true[:, 0] != true[:, 1]]
    chosen = _walk(true, len(proteins), size)
    number = np.full(len(proteins), -1)
    number[chosen] = np.arange(len(chosen))
    of_true, of_called = (_within(number, edges) for edges in (true, called))
    weight = np.array([len(chosen), 1])
    found = np.isin(of_true @ weight, of_called @ weight)
    return DrawnNetwork(
        names=tuple(proteins[index] for index in chosen),
        places=stress_layout(len(chosen), of_true),
        found=of_true[found],
        missed=of_true[~found],
        false=of_called[~np.isin(of_called @ weight, of_true @ weight)],
        tested=len(chosen) * (len(chosen) - 1) // 2 if tested is None else len(_within(number, tested)),
    )


def _within(number: Integers, edges: Integers) -> Integers:
    """The edges (e, 2) among the drawn proteins, renumbered, ends ascending."""
    drawn = np.sort(number[edges], axis=1)
    kept: Integers = drawn[(drawn[:, 0] >= 0) & (drawn[:, 0] != drawn[:, 1])]
    return kept


def _walk(edges: Integers, proteins: int, size: int) -> list[int]:
    """Numbers of the proteins in the order of a bounded breadth-first search."""
    partners: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        partners.setdefault(a, []).append(b)
        partners.setdefault(b, []).append(a)
    degrees = np.bincount(edges.ravel(), minlength=proteins)
    starts = iter(np.argsort(-degrees, kind="stable").tolist())
    chosen: dict[int, None] = {}
    queue: deque[int] = deque()
    while len(chosen) < min(size, len(partners)):
        if not queue:
            queue.append(next(protein for protein in starts if protein not in chosen))
            chosen[queue[0]] = None
        new = [protein for protein in sorted(partners[queue.popleft()]) if protein not in chosen]
        for protein in new[: min(_BRANCHES, size - len(chosen))]:
            chosen[protein] = None
            queue.append(protein)
    return list(chosen)


def stress_layout(nodes: int, edges: Integers) -> Floats:
    """Places nodes, (n, 2), so that distances resemble path lengths.

    Coordinates are within -1 to 1, and the same graph always gives the same layout. Gansner, Koren & North
    2005, "Graph drawing by stress majorization": distant pairs have less weight. Nodes that no path connects
    are taken to be one step further apart than the longest path.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    if nodes < 2:
        return np.zeros((nodes, 2))
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(nodes, nodes))
    steps = shortest_path(graph.tocsr(), directed=False, unweighted=True)
    steps[~np.isfinite(steps)] = steps[np.isfinite(steps)].max() + 1
    np.fill_diagonal(steps, 1.0)
    weights = steps**-2.0
    np.fill_diagonal(weights, 0.0)
    inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    places = np.random.default_rng(0).normal(size=(nodes, 2))
    for _ in range(_STEPS):
        distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
        pull = -weights * steps / np.maximum(distance, 1e-9)
        np.fill_diagonal(pull, 0.0)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        places = inverse @ (pull @ places)
    places -= (places.max(axis=0) + places.min(axis=0)) / 2
    reach: Floats = places / np.maximum(np.abs(places).max(axis=0), 1e-9)
    return reach


def true_network_figure(network: DrawnNetwork) -> Figure:
    """Draws the true edges, both the predicted and the missed ones."""
    return _figure(
        network,
        "True network",
        {"found": (network.found, FOUND), "missed": (network.missed, MISSED)},
    )


def predicted_network_figure(network: DrawnNetwork) -> Figure:
    """Draws the predicted edges, both the true and the false ones."""
    return _figure(
        network,
        "Predicted network",
        {"true": (network.found, FOUND), "false": (network.false, FALSE)},
    )


def _figure(network: DrawnNetwork, title: str, kinds: dict[str, tuple[Integers, Pen]]) -> Figure:
    figure = new_figure(6.0, 6.0)
    axes = figure.subplots()
    handles = []
    for name, (edges, (colour, style, width)) in kinds.items():
        lines = network.places[edges]
        axes.add_collection(
            LineCollection(list(lines), colors=colour, linestyles=style, linewidths=width, zorder=1)
        )
        handles.append(
            Line2D([], [], color=colour, linestyle=style, linewidth=2, label=f"{name}: {len(edges):,}")
        )
    x_places, y_places = network.places.T
    axes.scatter(x_places, y_places, s=26, color="white", edgecolors=INK, linewidths=1.2, zorder=2)
    for name, (x, y) in zip(network.names, network.places.tolist(), strict=True):
        shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        axes.annotate(
            shown, (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=7.5, color=INK, zorder=3,
            parse_math=False,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )  # fmt: skip
    axes.set_xlim(-1.12, 1.12)
    axes.set_ylim(-1.08, 1.12)
    axes.set_axis_off()
    axes.set_title(title, fontsize=13, color=INK)
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, fontsize=10.5, frameon=False
    )
    return figure
