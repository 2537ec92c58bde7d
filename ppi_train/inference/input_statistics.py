"""Standardisation of inputs by the proteins that are asked about.

A model standardises embeddings by mean and deviation of the training proteins. Proteins of another species
differ from these in most numbers of an embedding, by what all of them share; their own mean and deviation
remove it. For the same reason they take the place of the reference proteins. A score then depends on which
other proteins are asked about, so that there must be many of them.
"""

from __future__ import annotations

from ppi_train.errors import DataError
from ppi_train.features import Features, ProteinIterator
from ppi_train.inference.reference import take_reference
from ppi_train.models.base import PairModel

LEAST_PROTEINS = 100
"""With fewer, a mean is off by more than a tenth of a deviation."""


def take_asked_statistics(model: PairModel, features: Features, *, where: object) -> None:
    """Standardises the inputs of a model by the given proteins instead of those of training.

    Its reference proteins are then among them, too.

    Args:
        model: Is altered; its weights stay.
        features: Of all proteins that are asked about, each once.
        where: Names them in the error.

    Raises:
        DataError: there are fewer than `LEAST_PROTEINS`.
    """
    if len(features) < LEAST_PROTEINS:
        raise DataError(
            "too few proteins to standardise the embeddings by",
            where=where,
            got=f"{len(features):,} proteins",
            expected=f"at least {LEAST_PROTEINS}, better all of a species",
            remedy="leave out input_statistics=asked, or ask about more proteins",
        )
    model.refit_scale(ProteinIterator(features))
    take_reference(model, features)
