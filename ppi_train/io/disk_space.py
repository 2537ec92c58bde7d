"""Error reports for a full disk, with free and needed space."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ppi_train.errors import StorageError

logger = logging.getLogger(__name__)

# A quota that is used up is, for its user, a full disk.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_space(path: Path, needed: Callable[[], int], *, kept: Callable[[], str]) -> Iterator[None]:
    """Context manager that turns a full disk into a StorageError.

    Args:
        path: The file.
        needed: Gives the bytes still to be written, to it and next to it; called when the disk is full.
        kept: Gives a text for the message: which part of the work is safe.

    Raises:
        StorageError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageError(
            "the disk is full",
            where=path.absolute(),
            got=f"{free_bytes(path) / 1e6:,.1f} MB free",
            expected=f"about {needed() / 1e6:,.1f} MB for what is left to write",
            remedy=f"make room and give the same command again; {kept()}",
        ) from error


def free_bytes(path: Path) -> int:
    """The free bytes on the disk of an existing or future path."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free
