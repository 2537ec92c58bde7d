"""Tests of half-precision conversion against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.embeddings.cache.residues import mean_residues, widened


def test_every_finite_half_is_widened_exactly() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    np.testing.assert_array_equal(widened(halves).view(np.int32), halves.astype(np.float32).view(np.int32))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("length", [1, 1024, 5000])
def test_means(dtype: str, length: int) -> None:
    states = np.random.default_rng(0).normal(size=(length, 7)).astype(dtype)
    found = mean_residues(states)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, states.mean(axis=0, dtype=np.float64), rtol=1e-4, atol=1e-6)
