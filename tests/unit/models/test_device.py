"""Tests of the check that a model fits into memory."""

from __future__ import annotations

import pytest
import torch

from ppi_train.errors import MemoryShortageError
from ppi_train.models.device import check_model_fits, total_memory
from ppi_train.models.registry import MODEL_FACTORIES, build_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", list(MODEL_FACTORIES))
def test_every_model_is_counted_without_memory(name: str) -> None:
    check_model_fits(lambda: build_model(name, input_dim=64), CPU)
    before = torch.get_rng_state()
    with pytest.raises(MemoryShortageError, match="the model does not fit into memory") as caught:
        check_model_fits(lambda: build_model(name, input_dim=10**9, hidden_dim=1 << 16), CPU)
    assert "parameters, which need" in str(caught.value)
    assert f"at most {total_memory(CPU) / 1e9:,.1f} GB, all memory of cpu" in str(caught.value)
    assert torch.equal(torch.get_rng_state(), before)
