"""The registry of embedders."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from ppi_train.embedders.base import Embedder
from ppi_train.embedders.descriptors import Descriptors
from ppi_train.errors import ConfigError

EMBEDDERS: dict[str, Callable[[], Embedder]] = {"descriptors": Descriptors}


def make_embedder(name: str) -> Embedder:
    """An embedder by its name.

    Raises:
        ConfigError: an unknown name; says which names are near, and which are known.
    """
    if name not in EMBEDDERS:
        near = difflib.get_close_matches(name, EMBEDDERS, n=3)
        raise ConfigError(
            "there is no such embedder",
            got=name,
            expected=", ".join(sorted(EMBEDDERS)),
            remedy=f"did you mean {' or '.join(near)}?" if near else None,
        )
    return EMBEDDERS[name]()
