"""Tests that freed memory is kept for what is allocated next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

LOOPS = """
import resource
import numpy as np
from ppi_train.io.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        kept = [np.ones(250_000) for _ in range(4)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
keep_freed_memory()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
print(given_back, faults(), grown)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_loop_gets_its_memory_back_without_the_system() -> None:
    found = subprocess.run([sys.executable, "-c", LOOPS], capture_output=True, text=True, check=True)
    given_back, kept, grown = map(int, found.stdout.split())
    assert given_back > 10_000
    assert kept < given_back / 5
    assert grown < 1000  # kB
