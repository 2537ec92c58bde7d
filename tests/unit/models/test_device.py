"""Tests of the choice of a precision, and of the check that a model fits into memory."""

from __future__ import annotations

import logging

import pytest
import torch

from ppi_train.embeddings.embedders.protein_lm import CausalLstm
from ppi_train.errors import DeviceError, MemoryShortageError
from ppi_train.models.device import (
    autocast,
    check_bf16,
    check_model_fits,
    has_fast_bf16,
    resolve_amp,
    total_memory,
)
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


@pytest.mark.parametrize(
    ("said", "fast"),
    [({}, False), ({"avx2": True, "avx512_f": True}, False), ({"avx512_bf16": True}, True),
     ({"avx512_bf16": False, "amx_bf16": True}, True)],
)  # fmt: skip
def test_bf16_is_fast_where_the_processor_says_so(
    said: dict[str, bool], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: said)
    monkeypatch.setattr("ppi_train.models.device._onednn_has", lambda dtype: dtype == torch.bfloat16)
    assert has_fast_bf16(CPU) is fast
    # Its library may have been told to use less than the processor has.
    monkeypatch.setattr("ppi_train.models.device._onednn_has", lambda _: False)
    assert not has_fast_bf16(CPU)


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bf16_is_fast_on_a_gpu_of_capability_8(
    capability: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert has_fast_bf16(torch.device("cuda", 0)) is fast


def test_a_gpu_without_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    check_bf16(CPU, got="amp=bf16", remedy="give amp=off")
    with pytest.raises(DeviceError, match=r"this GPU does not support bf16(.|\n)*give amp=off"):
        check_bf16(torch.device("cuda", 0), got="amp=bf16", remedy="give amp=off")


@pytest.mark.parametrize("here", [False, True])
def test_auto_takes_bf16_only_where_both_gain(
    here: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ppi_train.models.device.has_fast_bf16", lambda _: here)
    for asked in ("off", "bf16", "fp16"):
        assert resolve_amp(asked, "cpu", gains=() if here else ("cpu",)) == asked
    assert not caplog.records
    with caplog.at_level(logging.INFO):
        assert resolve_amp("auto", "cpu", gains=()) == "off"
        assert resolve_amp("auto", "cpu", gains=("cpu", "cuda")) == ("bf16" if here else "off")
    assert caplog.messages == [f"amp=auto took {'bf16' if here else 'off'}"]
    assert resolve_amp("auto", "cpu", gains=("cuda",)) == "off"


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_a_language_model_trains_in_half_precision_on_any_processor(amp: str) -> None:
    """A continued run has the precision that it began with, also on a processor without instructions."""
    torch.manual_seed(0)
    model, windows = CausalLstm(16, 2), torch.randint(1, 21, (4, 17))
    before = torch.backends.mkldnn.enabled
    full = model.loss(windows)
    with autocast(CPU, amp):
        half = model.loss(windows)
    assert torch.backends.mkldnn.enabled is before
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.01, rtol=0)
    assert not torch.equal(half, full)
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in (full, half)]
    for wanted, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=0.02 * float(wanted.abs().max()) + 1e-6, rtol=0)
