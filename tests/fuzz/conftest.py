"""Number of inputs per reader in the fuzz tests.

The default is 500 of each kind, always the same. `PPI_TRAIN_FUZZ=10000` takes that many new inputs, for a
long run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, configuration, settings

INPUTS = int(os.environ.get("PPI_TRAIN_FUZZ", "0"))

# What hypothesis keeps between runs must not lie in the working tree.
configuration.set_hypothesis_home_dir(os.path.join(tempfile.gettempdir(), f"hypothesis-{os.getuid()}"))  # noqa: PTH118

_COMMON = settings(
    database=None,
    deadline=None,  # a machine under load is no defect; `watched` stops what hangs
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
settings.register_profile("ci", _COMMON, max_examples=500, derandomize=True)
settings.register_profile("long", _COMMON, max_examples=max(INPUTS, 1), derandomize=False)
settings.load_profile("long" if INPUTS else "ci")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to write to over and over: in memory where the system has such a place."""
    if Path("/dev/shm").is_dir():
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="fuzz-") as path:
            yield Path(path)
    else:
        yield tmp_path_factory.mktemp("fuzz")
