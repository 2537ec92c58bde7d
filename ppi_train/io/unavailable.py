"""Files that could not be read, as opposed to files whose bytes are wrong.

Such a file may be whole, so that no message may advise to delete it or to make it again.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppi_train.errors import DataError

# What a system call says of a position or a size that only damaged bytes can have asked for, or of a folder
# where a file belongs.
_FROM_THE_BYTES = (errno.EINVAL, errno.EOVERFLOW, errno.EFBIG, errno.EISDIR)
_REMEDIES = {
    errno.EACCES: "get permission to read it, or give a copy that you may read",
    errno.EPERM: "get permission to read it, or give a copy that you may read",
    errno.EMFILE: "raise the limit of open files, such as with `ulimit -n 4096`, and give the command again",
    errno.ENFILE: "close other programs, and give the command again",
    errno.ENOMEM: "give the command again where more memory is free",
    errno.ENAMETOOLONG: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.ELOOP: "check the path: its links lead in a circle",
    errno.ENOENT: "it was there before: put it back, and give the command again",
}
_OTHER_REMEDY = "mend the disk or its connection, and give the command again; the file itself may be whole"
# torch has no class of its own for it.
_TORCH_MEMORY = re.compile(
    "can't allocate memory|not enough memory|[Cc]annot allocate memory|CUDA out of memory|"
    "CUDA error: out of memory|STATUS_ALLOC_FAILED"
)
# Arrow's message, with the bytes that it asked for.
_ASKED_FOR = re.compile(r"of size (\d+) failed")
# No whole file asks for more: so many bytes, or so many times its size.
_MOST_BYTES, _MOST_TIMES = 1 << 30, 100


class UnavailableError(DataError):
    """A file could not be read, for a reason that does not lie in its bytes."""


def unavailable_error(
    error: object, path: str | Path, what: str = "the file could not be read"
) -> UnavailableError | None:
    """The message for a file that could not be read; None where its bytes may be wrong."""
    number = _errno_of(error)
    if number is None or (number == errno.ENOMEM and _asks_too_much(str(error), path)):
        return None
    return UnavailableError(
        what,
        where=path,
        got="memory ran out" if number == errno.ENOMEM else os.strerror(number),
        remedy=_REMEDIES.get(number, _OTHER_REMEDY),
    )


def out_of_memory(error: object) -> bool:
    """Whether memory ran out, of the machine or of its GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and bool(_TORCH_MEMORY.search(str(error)))
    )


def _asks_too_much(message: str, path: str | Path) -> bool:
    """Whether damaged bytes asked for the memory, and not what is in the file."""
    asked = _ASKED_FOR.search(message)
    if asked is None:
        return False
    try:
        size = Path(path).stat().st_size
    except OSError:
        return False
    return int(asked[1]) > max(_MOST_BYTES, _MOST_TIMES * size)


def _errno_of(error: object) -> int | None:
    if out_of_memory(error):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno and error.errno not in _FROM_THE_BYTES:
        return error.errno
    return None


@contextmanager
def described_by_cause(path: str | Path) -> Iterator[None]:
    """Turns an error that does not come from a file's bytes into an UnavailableError."""
    try:
        yield
    except Exception as error:
        unavailable = unavailable_error(error, path)
        if unavailable is None:
            raise
        raise unavailable from error


def check_readable(path: Path) -> None:
    """Opens a file and closes it again, for readers that do not say why they cannot.

    Raises:
        UnavailableError: it cannot be opened.
    """
    with described_by_cause(path), path.open("rb"):
        pass
