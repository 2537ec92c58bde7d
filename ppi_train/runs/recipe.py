"""The best recipe that is known, for what a user of the whole pipeline leaves open."""

from __future__ import annotations

import logging

from ppi_train.runs.configs import MODEL_OF_BEST_RECIPE, PipelineConfig
from ppi_train.runs.own_data import draws_training_negatives

logger = logging.getLogger(__name__)

_OF_LANGUAGE_MODEL: dict[str, object] = {
    "model": MODEL_OF_BEST_RECIPE,
    "granularity": "residue",
    "embedding_dtype": "float16",
    "epochs": 10,
    "fresh_negatives": True,
}


def with_best_recipe(config: PipelineConfig) -> PipelineConfig:
    """The config with the recipe that is best for `protein_lm`, where it is for that embedder.

    It is `v3` on residues, ten epochs, fresh negatives; docs/design/experiments.md has what it was compared
    with. Each parameter that is given stays as it is, and a model, a hyper-parameter of another model, a
    cache, or a granularity of one vector a protein keeps the whole recipe away.

    Raises:
        DataError: the network or the training pairs that are given are wrong.
    """
    if not config.takes_best_recipe:
        return config
    taken = {name: value for name, value in _OF_LANGUAGE_MODEL.items() if name not in config.names_given}
    # The negatives of a user's own files may have been measured.
    if "fresh_negatives" in taken and (
        config.finetune.finetune_train_pairs or not draws_training_negatives(config)
    ):
        del taken["fresh_negatives"]
    logger.info(
        "the best recipe for protein_lm: %s; parameters that are given come first, and model=pooled_mlp "
        "is the quick alternative",
        " ".join(f"{name}={value}".replace("True", "true") for name, value in taken.items()),
    )
    return config.replace(**taken)
