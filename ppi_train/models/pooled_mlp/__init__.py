"""Hyper-parameters of `pooled_mlp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.models.registry import ModelOptions, register

if TYPE_CHECKING:
    from ppi_train.models.base import PairModel


@register("pooled_mlp")
@dataclass(frozen=True, kw_only=True)
class PooledMlpOptions(ModelOptions):
    BATCH_SIZE: ClassVar[int] = 1024

    hidden_dim: int = option(128, "Width of a protein's state, of each member.", low=1, high=bounds.WIDTH)
    head_dim: int = option(
        32, "Width of the layer that scores a pair, of each member.", low=1, high=bounds.WIDTH
    )
    num_layers: int = option(1, "Hidden layers of the protein encoder.", low=1, high=bounds.LAYERS)
    dropout: float = option(0.3, "Share of activations dropped in training.", low=0, below=1)
    input_dropout: float = option(
        0.5, "Share of embedding dimensions hidden from a member, redrawn for each batch.", low=0, below=1
    )
    members: int = option(
        4,
        "Networks side by side whose mean is the score, and whose spread its uncertainty.",
        low=1,
        high=bounds.MEMBERS,
    )

    def build(self, input_dim: int) -> PairModel:
        from ppi_train.models.pooled_mlp.model import PooledMlp

        return PooledMlp(input_dim, self)
