"""What a logged model of pairs carries to be served."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import re
from pathlib import Path

from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.embedders import EMBEDDERS
from ppi_train.errors import UserError
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import SplitInputs

logger = logging.getLogger(__name__)

SCORER = "ppi_train.serving.scorer:PairScorer"
"""The class that scores pairs in a served model."""

# In addition to those of every model. They may be absent: training from a cache does not need them.
_EMBEDDER_NEEDS = {"esm2": ("transformers",)}
# Human insulin, A and B chain, and ubiquitin: short enough to be readable.
_INSULIN_A, _INSULIN_B = "GIVEQCCTSICSLYQLENYCN", "FVNQHLCGSHLVEALYLVCGERGFFYTPKT"
_UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"


def served_embedder(cache: EmbeddingCache) -> Path | None:
    """The checkpoint of a cache's embedder, to be served with the model.

    None if the embedder has no checkpoint, or if it cannot be fetched.
    """
    settings = EmbeddingSettings.of_recipe(cache.spec.recipe(), dtype=cache.spec.dtype, device="cpu")
    try:
        return settings.checkpoint_folder()
    except UserError as error:
        # A cache may come from another tracking server; the model then takes protein IDs.
        logger.warning("the registered model cannot embed sequences: %s", error)
        return None


def served_example(inputs: SplitInputs) -> dict[str, list[str]]:
    """Two example input rows of a model, by column.

    These are sequences for a built-in embedder, otherwise protein IDs.
    """
    if inputs.cache.spec.embedder["name"] in EMBEDDERS:
        return {"sequence_a": [_INSULIN_A, _INSULIN_A], "sequence_b": [_INSULIN_B, _UBIQUITIN]}
    table = inputs.tables["validation"]
    a, b = ([table.proteins[side] for side in table.index[:2, column]] for column in (0, 1))
    return {"protein_a": a, "protein_b": b}


def served_requirements(embedder: str) -> list[str]:
    """Pinned dependencies that serving a model needs, for the embedder of this name."""
    names = [
        re.split(r"[<>=!~; \[]", requirement)[0]
        for requirement in importlib.metadata.requires("ppi_train") or []
    ]
    served = ("torch", "mlflow", "pyarrow", "safetensors", "pooch", "isal")
    needed = [name for name in names if name in served]
    needed += [name for name in _EMBEDDER_NEEDS.get(embedder, ()) if importlib.util.find_spec(name)]
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in needed]
