"""Hyper-parameters of `pair_transformer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.models.registry import ModelOptions, register

if TYPE_CHECKING:
    from ppi_train.models.base import PairModel


@register("pair_transformer")
@dataclass(frozen=True, kw_only=True)
class PairTransformerOptions(ModelOptions):
    BATCH_SIZE: ClassVar[int] = 64

    hidden_dim: int = option(64, "Width of a residue's state.", low=1, high=bounds.WIDTH)
    heads: int = option(8, "Heads of attention; they divide hidden_dim.", low=1, high=bounds.HEADS)
    dropout: float = option(0.2, "Share of activations dropped in training.", low=0, below=1)
    random_features: int = option(
        1024,
        "Random features of the Gaussian process that gives a score its uncertainty.",
        low=1,
        high=bounds.RANDOM_FEATURES,
    )
    max_residues: int = option(
        512,
        "Residues of a longer protein that a model of all pairs of residues looks at.",
        low=2,
        high=bounds.RESIDUES,
    )

    def build(self, input_dim: int) -> PairModel:
        from ppi_train.models.pair_transformer.model import PairTransformer

        return PairTransformer(input_dim, self)
