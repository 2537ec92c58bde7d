"""The model registry, and one module per architecture."""

# Importing a file registers its model.
from ppi_train.models import contact_map as _contact_map  # noqa: F401
from ppi_train.models import pair_transformer as _pair_transformer  # noqa: F401
from ppi_train.models import pooled_mlp as _pooled_mlp  # noqa: F401
from ppi_train.models.v3 import model as _v3  # noqa: F401
