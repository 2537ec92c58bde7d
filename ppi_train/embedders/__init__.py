"""The registry of embedders."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from ppi_train.embedders.base import Embedder, EmbedderRequest
from ppi_train.embedders.descriptors import Descriptors
from ppi_train.errors import ConfigError

EmbedderFactory = Callable[[EmbedderRequest], Embedder]


def _protein_lm(request: EmbedderRequest) -> Embedder:
    from ppi_train.embedders.protein_lm import ProteinLm  # torch, not wanted where nothing is embedded

    return ProteinLm.from_request(request)


EMBEDDERS: dict[str, EmbedderFactory] = {
    "descriptors": Descriptors.from_request,
    "protein_lm": _protein_lm,
}


def make_embedder(request: EmbedderRequest) -> Embedder:
    """An embedder by its name.

    Raises:
        ConfigError: an unknown name, with the near and the known ones; or a request that it cannot meet.
    """
    if request.name not in EMBEDDERS:
        near = difflib.get_close_matches(request.name, EMBEDDERS, n=3)
        raise ConfigError(
            "there is no such embedder",
            got=request.name,
            expected=", ".join(sorted(EMBEDDERS)),
            remedy=f"did you mean {' or '.join(near)}?" if near else None,
        )
    return EMBEDDERS[request.name](request)
