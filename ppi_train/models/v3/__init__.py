"""Hyper-parameters of `v3`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.models.registry import ModelOptions, register

if TYPE_CHECKING:
    from ppi_train.models.base import PairModel


@register("v3")
@dataclass(frozen=True, kw_only=True)
class V3Options(ModelOptions):
    # Measured on a processor with AVX512-BF16: 1.25 to 1.4 times the steps, see docs/design/experiments.md.
    GAINS_BY_BF16: ClassVar[tuple[str, ...]] = ("cpu",)

    hidden_dim: int = option(128, "Width of a protein's state, of each member.", low=1, high=bounds.WIDTH)
    head_dim: int = option(
        32, "Width of the layer that scores a pair, of each member.", low=1, high=bounds.WIDTH
    )
    dropout: float = option(0.3, "Share of activations dropped in training.", low=0, below=1)
    input_dropout: float = option(
        0.5, "Share of statistics and slots hidden from a member, redrawn for each batch.", low=0, below=1
    )
    members: int = option(
        4,
        "Networks side by side whose mean is the score, and whose spread its uncertainty.",
        low=1,
        high=bounds.MEMBERS,
    )
    slots: int = option(
        4, "Learned summaries of a protein's residues, of each member.", low=1, high=bounds.SLOTS
    )

    def build(self, input_dim: int) -> PairModel:
        from ppi_train.models.v3.model import V3

        return V3(input_dim, self)
