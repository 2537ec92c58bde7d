"""What MLflow does at each run although the answer is known here.

Together a tenth of a short run's CPU time. Without MLflow's names that are used here, everything is done as
before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.tracking.context import registry as context
from mlflow.tracking.fluent import _get_experiment_id
from mlflow.utils import requirements_utils

_NOTEBOOK, _PACKAGES = "IPython", "_MODULES_TO_PACKAGES"


def context_tags(tags: dict[str, str]) -> dict[str, str]:
    """MLflow's tags of user, source and commit, and the given ones."""
    with _no_notebook():
        return dict(context.resolve_tags(tags))


def default_experiment_id() -> str:
    """The ID of the experiment of new runs."""
    with _no_notebook():
        return str(_get_experiment_id())


@contextmanager
def _no_notebook() -> Iterator[None]:
    """Within the block MLflow does not import IPython to ask it whether this is a notebook.

    A notebook has loaded it.
    """
    if _NOTEBOOK in sys.modules:
        yield
        return
    sys.modules[_NOTEBOOK] = None  # type: ignore[assignment]  # an import of it now fails
    try:
        yield
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
