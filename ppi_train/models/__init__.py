"""The registry of model factories, and one file per architecture."""

from ppi_train.models import pooled_mlp as _pooled_mlp  # noqa: F401 - importing registers it
