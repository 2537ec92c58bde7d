"""Tests of complex metrics in a predicted network, against hand calculation."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.errors import DataError
from ppi_train.evaluation.network.function import complex_metrics
from ppi_train.evaluation.network.graph import Network, network_from_pairs

pytestmark = pytest.mark.filterwarnings("error")


def predicted(*pairs: str) -> Network:
    names = "ABCDEFGH"
    ends = [(names.index(pair[0]), names.index(pair[1])) for pair in pairs]
    return network_from_pairs(tuple(names), np.array(ends, np.int64).reshape(-1, 2))


def known(*pairs: str) -> list[tuple[str, str]]:
    return [(pair[0], pair[1]) for pair in pairs]


def test_means_over_the_complexes() -> None:
    complexes = {"triangle": known("AB", "BC", "AC", "CA"), "two": known("DE", "FG"), "loop": known("HH")}
    found = complex_metrics(predicted("AB", "CB", "DF", "DE", "CD"), complexes)
    # CD joins two complexes and counts in neither. DF is predicted within `two` and not known.
    assert found["complex_recall"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["complex_precision"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    # `two` is not connected in truth; of the others the prediction connects both, `loop` being one protein.
    assert found["complex_connectivity"] == 1.0


def test_connectivity_needs_every_protein() -> None:
    complexes = {"path": known("AB", "BC", "CD"), "pair": known("EF")}
    assert complex_metrics(predicted("AB", "CD", "EF"), complexes)["complex_connectivity"] == 0.5
    # Connected by other edges than the known ones.
    assert complex_metrics(predicted("AC", "AD", "AB", "EF"), complexes)["complex_connectivity"] == 1.0
    assert "complex_connectivity" not in complex_metrics(predicted("AB"), {"two": known("AB", "CD")})


def test_an_empty_prediction_has_values() -> None:
    assert set(complex_metrics(predicted(), {"one": known("AB", "BC")}).values()) == {0.0}


def test_bad_input() -> None:
    with pytest.raises(DataError, match="there are no complexes"):
        complex_metrics(predicted("AB"), {})
    with pytest.raises(DataError, match="a complex has no interaction"):
        complex_metrics(predicted("AB"), {"none": []})
    with pytest.raises(DataError, match="1 protein is not in the network") as caught:
        complex_metrics(predicted("AB"), {"odd": known("AX")})
    assert "complex odd" in str(caught.value)
