"""Hyper-parameters of `contact_map`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.models.registry import ModelOptions, register

if TYPE_CHECKING:
    from ppi_train.models.base import PairModel


@register("contact_map")
@dataclass(frozen=True, kw_only=True)
class ContactMapOptions(ModelOptions):
    BATCH_SIZE: ClassVar[int] = 16

    hidden_dim: int = option(100, "Width of a residue's state.", low=1, high=bounds.WIDTH)
    dropout: float = option(0.5, "Share of activations dropped in training.", low=0, below=1)
    sparsity: float = option(
        0.65, "Share of the loss that is the mean of the contact map, which keeps it sparse.", low=0, below=1
    )
    max_residues: int = option(
        800,
        "Residues of a longer protein that a model of all pairs of residues looks at.",
        low=2,
        high=bounds.RESIDUES,
    )
    # Sizes of the two convolutions and of the pooling, which are not offered as parameters.
    channels: int = 50
    width: int = 7
    pool_width: int = 9

    def build(self, input_dim: int) -> PairModel:
        from ppi_train.models.contact_map.model import ContactMap

        return ContactMap(input_dim, self)
