"""The registry of embedders; it imports none before one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ppi_train.errors import ConfigError, nearest

if TYPE_CHECKING:
    from ppi_train.embeddings.embedders.base import Embedder, EmbedderRequest


def _descriptors(request: EmbedderRequest) -> Embedder:
    from ppi_train.embeddings.embedders.descriptors import Descriptors

    return Descriptors.from_request(request)


def _protein_lm(request: EmbedderRequest) -> Embedder:
    from ppi_train.embeddings.embedders.protein_lm import ProteinLm

    return ProteinLm.from_request(request)


def _esm2(request: EmbedderRequest) -> Embedder:
    from ppi_train.embeddings.embedders.esm2 import Esm2

    return Esm2.from_request(request)


EMBEDDERS: dict[str, Callable[[EmbedderRequest], Embedder]] = {
    "descriptors": _descriptors,
    "protein_lm": _protein_lm,
    "esm2": _esm2,
}


def make_embedder(request: EmbedderRequest) -> Embedder:
    """Creates an embedder by name.

    Raises:
        ConfigError: an unknown name (the message lists similar and known names), or an unsupported request.
    """
    if request.name not in EMBEDDERS:
        raise ConfigError(
            "there is no such embedder",
            got=request.name,
            expected=", ".join(sorted(EMBEDDERS)),
            remedy=nearest(request.name, EMBEDDERS),
        )
    return EMBEDDERS[request.name](request)
