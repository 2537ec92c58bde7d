"""Tests of how long requests may take: as the user set it, longer for files, shorter for probes."""

from __future__ import annotations

import os

import pytest

from ppi_train.tracking.timeouts import probing, time_for

VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"


def seconds() -> int:
    return int(os.environ[VARIABLE])


@pytest.mark.parametrize(("chosen", "usual"), [(None, 30), ("7", 7)])
def test_a_file_gets_the_time_for_its_bytes(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, usual: int
) -> None:
    monkeypatch.setenv(VARIABLE, chosen or "0")
    if chosen is None:
        monkeypatch.delenv(VARIABLE)
    with probing():
        assert seconds() == 4
    assert seconds() == usual
    with time_for(2_000_000_000):
        assert seconds() == usual + 2000
    with time_for(2_000_000, failures=2):
        assert seconds() == 4 * (usual + 2)
    with time_for(0, failures=100):
        assert seconds() == 8 * usual
    assert seconds() == usual


def test_several_files_and_a_probe_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "30")
    first, second = time_for(10_000_000), time_for(1_000_000)
    with first:
        second.__enter__()
        with probing():
            assert seconds() == 4
        assert seconds() == 41
    assert seconds() == 31
    second.__exit__(None, None, None)
    assert seconds() == 30
