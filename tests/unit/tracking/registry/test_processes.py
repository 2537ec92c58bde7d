"""Tests of what is known of other processes: dead, alive, or nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppi_train.tracking.registry.processes import is_dead, this_process

NAMES_ITSELF = """
from ppi_train.tracking.registry.processes import this_process

print(this_process(), flush=True)
input()
"""


@pytest.fixture
def other() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", NAMES_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_process_is_dead_once_it_was_killed(other: subprocess.Popen[str]) -> None:
    with other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        assert str(other.pid) in name
        assert not is_dead(name)
        other.kill()
        other.wait()
    assert is_dead(name)
    assert not is_dead(this_process())


def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    place, pid, started = this_process().split(":")
    assert is_dead(f"{place}:{pid}:{int(started) + 1}")


@pytest.mark.parametrize("changed", ["boot", "namespace"])
def test_of_another_machine_or_container_nothing_is_known(changed: str) -> None:
    place, _, _ = this_process().split(":")
    boot, namespace = place.split("/")
    place = f"{'0' * 36}/{namespace}" if changed == "boot" else f"{boot}/pid[1]"
    assert not is_dead(f"{place}:999999999:1")


@pytest.mark.parametrize("text", ["", "None", ":", "::", "x:1:2", ":1:2", "x:-1:2", "x:\u0661:2"])
def test_what_is_no_name_of_a_process_is_not_dead(text: str) -> None:
    assert not is_dead(text)
