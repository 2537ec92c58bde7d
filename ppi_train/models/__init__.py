"""The model registry, and one folder per architecture."""

# Importing a folder registers its model; none imports torch before the model is built.
from ppi_train.models import contact_map as _contact_map  # noqa: F401
from ppi_train.models import pair_transformer as _pair_transformer  # noqa: F401
from ppi_train.models import pooled_mlp as _pooled_mlp  # noqa: F401
from ppi_train.models import v3 as _v3  # noqa: F401
