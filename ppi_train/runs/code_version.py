"""Version of the code: package version and a digest of its source."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import ppi_train

_PACKAGE = Path(ppi_train.__file__).parent


@functools.cache
def code_version() -> str:
    """The package version and source digest, such as `0.1.0+3f2a9c0d1b4e`.

    Two runs with the same code version ran the same source.
    """
    hasher = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        hasher.update(f"{path.relative_to(_PACKAGE)}\0".encode())
        hasher.update(path.read_bytes())
    return f"{ppi_train.__version__}+{hasher.hexdigest()[:12]}"
