"""Function in a predicted network: protein complexes and essential proteins.

PRING's pathway task (arXiv:2507.05101): how well a predicted network recovers complexes. A complex is a set
of proteins and the known interactions among them (T). Its prediction (P) is the set of predicted edges
between its proteins.

PRING's essential protein task: does centrality identify essential proteins? These lie in dense
neighbourhoods. The network centrality of a protein (NC, Wang et al. 2012, "Identification of essential
proteins based on edge clustering coefficient", IEEE/ACM TCBB 9(4)) sums over its edges how nearly they are in
as many triangles as they could be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ppi_train.errors import DataError
from ppi_train.evaluation.network import Network, network_from_pairs

Floats = npt.NDArray[np.float64]

TOP = 100  # proteins of highest centrality
_POINTS = 10_000  # of the integral, as in PRING
_SAME = 1e-12  # centralities closer than this, relative to the largest, differ by rounding


def complex_metrics(
    predicted: Network, complexes: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, float]:
    """Compares the predicted edges of each complex with the known ones.

    Args:
        predicted: The network that a model calls, on at least the proteins of the complexes.
        complexes: The known interactions by complex. A pair that occurs twice, in either order, counts
            once; a protein with itself is a pair as well.

    Returns:
        `complex_recall`, the mean of |P and T| / |T|; `complex_precision`, the mean of |P and T| / |P|,
        0 where P is empty; both over all complexes. `complex_connectivity`, the share of the truly connected
        complexes that the prediction connects as well; left out if no complex is connected.

    Raises:
        DataError: there are no complexes, one has no interaction, or a protein is not in the network.
    """
    if not complexes:
        raise DataError("there are no complexes to compare with", expected="at least one")
    recall, precision, connected = [], [], []
    for name, known in complexes.items():
        if not known:
            raise DataError(
                "a complex has no interaction", where=f"complex {name}", expected="at least one pair"
            )
        truth = _network(known)
        ours = predicted.induced(predicted.numbers(truth.proteins, f"complex {name}"))
        both = replace(ours, adjacency=ours.adjacency.multiply(truth.adjacency).tocsr()).edges
        recall.append(both / truth.edges)
        precision.append(both / ours.edges if ours.edges else 0.0)
        if _is_connected(truth):
            connected.append(_is_connected(ours))
    found = {"complex_recall": float(np.mean(recall)), "complex_precision": float(np.mean(precision))}
    return found | ({"complex_connectivity": float(np.mean(connected))} if connected else {})


def _network(pairs: Sequence[tuple[str, str]]) -> Network:
    proteins = sorted({protein for pair in pairs for protein in pair})
    number = {protein: place for place, protein in enumerate(proteins)}
    return network_from_pairs(proteins, np.array([[number[a], number[b]] for a, b in pairs]))


def _is_connected(network: Network) -> bool:
    from scipy.sparse.csgraph import connected_components  # a tenth of a second to import

    return int(connected_components(network.adjacency, directed=False)[0]) == 1


def essential_metrics(
    predicted: Network,
    essential: Sequence[str],
    non_essential: Sequence[str],
    *,
    truth: Network | None = None,
    top: int = TOP,
) -> dict[str, float]:
    """Compares the centralities of essential and other proteins in a predicted network.

    Args:
        predicted: The network that a model calls.
        essential: Essential proteins, each once.
        non_essential: Other proteins, none of them essential.
        truth: The true network, over the same proteins; for `essential_top_agreement_at_<top>`.
        top: How many of the most central proteins are considered.

    Returns:
        `essential_precision_at_<top>`: the share of essential proteins among the listed ones with the
        highest centrality. `essential_top_agreement_at_<top>`: the share of these that are among the as
        many most central in the true network, which is what PRING's script calls precision.
        `essential_overlap`: the `distribution_overlap` of both lists; smaller is better.

    Raises:
        DataError: a list is too short, a protein is listed twice, or is not in the network.
    """
    _check_lists(essential, non_essential, top)
    proteins = [*essential, *non_essential]
    places = predicted.numbers(proteins, "essential and non-essential proteins")
    is_essential = np.arange(len(proteins)) < len(essential)
    central = network_centrality(predicted)[places]
    among = top_shares(central, top)
    found = {
        f"essential_precision_at_{top}": float(among[is_essential].sum() / top),
        "essential_overlap": distribution_overlap(central[is_essential], central[~is_essential]),
    }
    if truth is not None:
        assert truth.proteins == predicted.proteins, "two networks over different lists of proteins"
        agreed = among @ top_shares(network_centrality(truth)[places], top)
        found[f"essential_top_agreement_at_{top}"] = float(agreed / top)
    return found


def network_centrality(network: Network) -> Floats:
    """The network centrality NC of each protein.

    NC(u) is the sum over the neighbours v of u of |N(u) and N(v)| / min(|N(u)| - 1, |N(v)| - 1). Edges with a
    denominator of 0 or less are skipped. A protein that interacts with itself is its own neighbour, once.

    Returns:
        (n,) one value per protein.
    """
    adjacency = network.adjacency
    degree = np.diff(adjacency.indptr)
    common = (adjacency @ adjacency).multiply(adjacency).tocoo()
    limit = np.minimum(degree[common.row], degree[common.col]) - 1
    shares = np.divide(common.data, limit, out=np.zeros(len(limit)), where=limit > 0)
    return np.bincount(common.row, shares, minlength=len(degree)).astype(np.float64)


def top_shares(values: Floats, top: int) -> Floats:
    """The share (n,) of each value in the `top` highest places.

    1 above the lowest of the highest values and 0 below; values equal to it, up to rounding, share the
    places that are left, so that the shares sum to `top`. So the result does not depend on the order:
    otherwise, in an empty network, where all values are equal, the proteins listed first would win.
    """
    scale = max(float(np.max(np.abs(values))), 1.0)
    rounded = np.round(values / scale / _SAME) * _SAME
    cut = np.partition(rounded, len(values) - top)[len(values) - top]
    above, at = rounded > cut, rounded == cut
    return np.where(above, 1.0, np.where(at, (top - above.sum()) / at.sum(), 0.0))


def distribution_overlap(first: Floats, second: Floats) -> float:
    """The common area under two Gaussian kernel densities, 0 to about 1.

    About 1 if both are alike, 0 if they do not overlap. Scott's bandwidth; the integral of the smaller
    density, by trapezia on 10,000 points from the larger minimum to the smaller maximum. 0 if that range is
    empty. Values that are all the same have no density: two constant lists of the same value overlap
    completely, a constant list and any other list not at all.

    Args:
        first: At least two values.
        second: At least two values.
    """
    from scipy.stats import gaussian_kde  # half a second to import

    scale = max(float(np.max(np.abs([*first, *second]))), 1.0) * _SAME
    if min(np.ptp(first), np.ptp(second)) <= scale:
        return 1.0 if np.ptp([*first, *second]) <= scale else 0.0
    low, high = max(first.min(), second.min()), min(first.max(), second.max())
    if low >= high:
        return 0.0
    points = np.linspace(low, high, _POINTS)
    smaller = np.minimum(gaussian_kde(first)(points), gaussian_kde(second)(points))
    return float(np.trapezoid(smaller, points))


def _check_lists(essential: Sequence[str], non_essential: Sequence[str], top: int) -> None:
    both = [*essential, *non_essential]
    if min(len(essential), len(non_essential)) < 2 or len(both) < top:
        raise DataError(
            "there are too few essential or non-essential proteins",
            got=f"{len(essential)} and {len(non_essential)}",
            expected=f"at least two of each, and at least {top} in all",
        )
    if len(set(both)) < len(both):
        twice = next(protein for place, protein in enumerate(both) if protein in both[:place])
        raise DataError(
            "a protein is listed twice",
            where="essential and non-essential proteins",
            got=twice,
            expected="each protein once, in only one of the two lists",
        )
