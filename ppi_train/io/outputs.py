"""Checks of the paths that a mode writes to, before it starts on the work."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from ppi_train.errors import ConfigError

MANIFEST = "_manifest.json"
"""The file of an output folder that lists the others; its name is one that readers of data sets pass over."""

# An unfinished file, or a folder of finished parts, stands next to an output under a name so much longer.
_LONGER = 40
_REMEDIES = {
    errno.EISDIR: "a folder has this name: give the name of a file",
    errno.ENOTDIR: "a part of the path, or the folder itself, is a file: give another path",
    errno.ENOENT: "nothing can be made there, or a part of the path is a link that leads nowhere: "
    "give another path",
    errno.ELOOP: "its links lead in a circle: give another path",
    errno.ENAMETOOLONG: "give a shorter name",
}
_OTHER_REMEDY = "give a path that can be written to"


def check_output_path(name: str, path: Path, *, folder: bool = False) -> None:
    """Refuses a path that could not be written at the end of the work.

    Creates a temporary file where the output will be, or in the nearest folder above that exists.

    Args:
        name: The parameter that gives the path.
        path: A file or folder, which need not exist.
        folder: Whether files are to be written into it.

    Raises:
        ConfigError: it cannot be written, is too long, or is a folder in place of a file, or the reverse.
    """
    try:
        str(path).encode()  # Arrow writes to no other path
        if folder:
            _try_folder(path)
        elif path.is_dir():
            raise _error(errno.EISDIR)
        else:
            _try_folder(path.parent, name=path.name)
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        raise ConfigError(
            f"{name} cannot be written",
            where=path,
            got=os.strerror(number) if number else error,
            remedy=_REMEDIES.get(number or 0, _OTHER_REMEDY),
        ) from error


def _try_folder(path: Path, name: str = "") -> None:
    there = path.absolute()
    missing = [name]
    while not os.path.lexists(there):
        missing.append(there.name)
        there = there.parent
    if not stat.S_ISDIR(there.stat().st_mode):
        raise _error(errno.ENOTDIR)
    with tempfile.TemporaryFile(dir=there):
        longest = os.pathconf(there, "PC_NAME_MAX") - _LONGER
    if any(len(os.fsencode(part)) > longest for part in missing):
        raise _error(errno.ENAMETOOLONG)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
