"""What MLflow does at each run although the answer is known here.

Together a tenth of a short run's CPU time. Without MLflow's names that are used here, everything is done as
before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.tracking.context import registry as context
from mlflow.utils import requirements_utils

_NOTEBOOK, _PACKAGES = "IPython", "_MODULES_TO_PACKAGES"


def context_tags(tags: dict[str, str]) -> dict[str, str]:
    """MLflow's tags of user, source and commit, and the given ones.

    MLflow imports IPython to ask whether this is a notebook, where IPython is loaded already.
    """
    if _NOTEBOOK in sys.modules:
        return dict(context.resolve_tags(tags))
    sys.modules[_NOTEBOOK] = None  # type: ignore[assignment]  # an import of it now fails
    try:
        return dict(context.resolve_tags(tags))
    finally:
        del sys.modules[_NOTEBOOK]


@contextmanager
def no_list_of_packages() -> Iterator[None]:
    """Within the block MLflow does not list the modules of all installed packages.

    It compares a model's requirements with what is installed, which the requirements were written from; the
    list is for packages without metadata.
    """
    before = getattr(requirements_utils, _PACKAGES, {})
    if before is None:
        setattr(requirements_utils, _PACKAGES, {})
    try:
        yield
    finally:
        if before is None:
            setattr(requirements_utils, _PACKAGES, None)
