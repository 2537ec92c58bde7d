"""Errors of the system that end a mode as one message: unusable paths, a full disk, too little memory."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ppi_train.errors import MemoryShortageError, StorageError, UserError, first_line
from ppi_train.io.files import FULL_DISK
from ppi_train.io.unavailable import out_of_memory

logger = logging.getLogger(__name__)

_OPEN_FILES = (errno.EMFILE, errno.ENFILE)
# What a path or its disk is to blame for; a mistake of ours shows itself in other errors.
_OF_PATHS = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE, errno.EBUSY, errno.ENXIO,
    errno.ENODEV, errno.EFBIG, errno.ETXTBSY,
})  # fmt: skip
_PLACES = (
    "check this path, and that it may be written to; paths are given by the parameters output, output_dir "
    "and data_dir, and by the variables PPI_TRAIN_CACHE, TMPDIR and HOME"
)
# What memory grows with, the most effective ones first.
_SIZES = (
    "batch_size", "hidden_dim", "lm_hidden_dim", "members", "num_layers", "head_dim", "slots", "heads",
    "random_features", "max_residues", "window", "max_length", "cache_memory_mb", "top_k",
)  # fmt: skip


@contextmanager
def reported_faults(parameters: Mapping[str, object]) -> Iterator[None]:
    """Turns errors of the system into a user error, wherever they occur in a mode.

    Args:
        parameters: The values of the mode's config by name; a message names those that can be lowered.

    Raises:
        StorageError: the disk is full, or a path cannot be used.
        MemoryShortageError: memory ran out.
    """
    try:
        yield
    except (OSError, MemoryError, RuntimeError, UnicodeEncodeError) as error:
        reported = _reported(error, parameters)
        if reported is None:
            raise
        logger.debug("reported as a user error", exc_info=error)
        raise reported from error


def _reported(error: Exception, parameters: Mapping[str, object]) -> UserError | None:
    if out_of_memory(error) or _number(error) == errno.ENOMEM:
        return _memory_error(error, parameters)
    if isinstance(error, UnicodeEncodeError):
        return StorageError(
            "a path is not text in UTF-8", got=ascii(error.object), remedy="give it a name in UTF-8"
        )
    number = _number(error)
    place = getattr(error, "filename", None)
    if number in FULL_DISK:
        return StorageError(
            "the disk is full",
            where=place,
            remedy="make room; a training run is then continued: "
            "mlflow run . --env-manager local -e resume -P run_id=...",
        )
    if number in _OPEN_FILES:
        return StorageError(
            "the process has too many open files",
            where=place,
            got=os.strerror(number),
            remedy="raise the limit, such as with `ulimit -n 4096`, and give the command again",
        )
    if number in _OF_PATHS:
        return StorageError("a path cannot be used", where=place, got=os.strerror(number), remedy=_PLACES)
    return None


def _number(error: Exception) -> int:
    return (error.errno or 0) if isinstance(error, OSError) else 0


def _memory_error(error: Exception, parameters: Mapping[str, object]) -> UserError:
    sizes = [f"{name}={parameters[name]}" for name in _SIZES if parameters.get(name)]
    unset = [name for name in _SIZES[:2] if name in parameters and not parameters[name]]
    lower = ", ".join([*sizes, *unset])
    remedy = "use a machine with more memory"
    return MemoryShortageError(
        "memory ran out", got=first_line(error), remedy=f"lower {lower}; or {remedy}" if lower else remedy
    )
