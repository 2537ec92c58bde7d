"""A disk that fills up: told as the user's matter, with what is free and what is needed."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ppi_train.errors import StorageError

logger = logging.getLogger(__name__)

# A quota that is used up is a full disk to whoever has it.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_space(path: Path, needed: Callable[[], int], *, kept: Callable[[], str]) -> Iterator[None]:
    """Watches over the writing of a file.

    Args:
        path: The file.
        needed: Bytes that are still to be written beside it and in it, asked when the disk is full.
        kept: What of the work is safe, for the message.

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
    """What a user may still write to the disk where a file lies or is to lie."""
    folder = next(one for one in path.absolute().parents if one.exists())
    return shutil.disk_usage(folder).free
