"""The exceptions that are reported to the user.

Each states what happened, where, what was found, what was expected and what to do about it, and
prints as one message. Any other exception is a bug in this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Self

# Longest part of a value that a message shows: enough for accessions and paths, not for a whole file.
_LONGEST = 20_000
# A password may contain any of `/:@`, so everything up to the last @ is removed. What follows a port is not
# a password, as in http://host:5000/models:/name@alias.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^\s/:@]*:(?!\d+(?:[/\s,;]|$))\S*@|(?:[^\s/@]*@)+)")

# A value in the query of a URL that lets anyone who reads it in: a token, a password, or the signature of a
# presigned address. Messages of libraries have the query without the host too.
_SECRET_VALUES = re.compile(
    r"([?&](?:[\w.%-]*(?:token|secret|passw|pwd|signature|credential|api[_-]?key|access[_-]?key|auth)[\w.%-]*"
    r"|sig|key|code)=)[^&\s'\"<>]+",
    re.IGNORECASE,
)

# The addresses of files in object stores, by the path of the copy that is read on this machine.
_ADDRESSES: dict[str, str] = {}


def show_as(path: object, address: str) -> None:
    """Lets messages, logged parameters and tags show an address in place of a path."""
    _ADDRESSES[str(path)] = address


def show_itself(path: object) -> None:
    """Shows a path again as it is."""
    _ADDRESSES.pop(str(path), None)


def addressed(text: str) -> str:
    """The text with the address of a file in place of the path of its copy."""
    for path, address in _ADDRESSES.items():
        text = text.replace(path, address)
    return text


def shown(text: str) -> str:
    """Makes a text safe for terminals, logs and the tracking server.

    Copies of files in object stores are shown by their address. User names and passwords in URLs become
    `***`, and so do tokens, keys and signatures in a query. Control characters, with which a hostile file
    could rewrite a terminal, and bytes that are not text are escaped; line ends and tabs stay.

    >>> shown("https://ann:secret@lab.org/?page=2&token=1234 \\x1b[2J")
    'https://***@lab.org/?page=2&token=*** \\\\x1b[2J'
    """
    text = masked(addressed(text))
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def masked(text: str) -> str:
    """The text with `***` for user names, passwords, tokens, keys and signatures in URLs."""
    return _SECRET_VALUES.sub(r"\1***", _CREDENTIALS.sub("***@", text))


def has_credentials(text: str) -> bool:
    """Whether a text contains a URL with a user name, password or other secret."""
    return bool(_CREDENTIALS.search(text) or _SECRET_VALUES.search(text))


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "protein"), counted(2000, "protein")
    ('1 protein', '2,000 proteins')
    """
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def first_ten(names: Iterable[object]) -> str:
    """The first ten names, with `...` for further ones.

    Bytes that are not UTF-8 are escaped.

    >>> first_ten(range(11))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...'
    """
    listed = [str(name) for name in islice(names, 11)]
    if len(listed) > 10:
        listed[10] = "..."
    return ", ".join(listed).encode("utf-8", "backslashreplace").decode()


def first_line(error: object) -> str:
    """The first line of an error's message, or else its type."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """A question for the known names most like an unknown one.

    Args:
        name: The unknown name.
        known: The names that would have been accepted.
        cutoff: How alike they must be, from 0 to 1.

    Returns:
        At most three names; None if no known name is like it.

    >>> nearest("pooled_mpl", ["pooled_mlp", "v3"])
    'did you mean pooled_mlp?'
    """
    near = get_close_matches(name, list(known), n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}?" if near else None


class UserError(ValueError):
    """A mistake that the user can correct.

    The command ends with exit code 2 and this message.

    Args:
        what: One sentence: what is wrong.
        where: File and line, parameter, run ID or URL.
        got: The offending value.
        expected: What would have been accepted.
        remedy: The next thing to do.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        got: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.expected, self.remedy = what, where, got, expected, remedy
        parts = {"where": where, "got": got, "expected": expected, "to do": remedy}
        lines = [f"  {name}: {_cut(value)}" for name, value in parts.items() if value is not None]
        super().__init__(shown("\n".join([_cut(what), *lines])))

    def at(self, where: object) -> Self:
        """The same error, reported at a place that the user knows better."""
        return type(self)(self.what, where=where, got=self.got, expected=self.expected, remedy=self.remedy)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} letters)"


class ConfigError(UserError):
    """A parameter or a config file is wrong; lists every problem found."""


class DataError(UserError):
    """A FASTA file, pair table or data set is invalid or missing."""


class DownloadError(DataError):
    """A benchmark file cannot be downloaded or does not match the catalogue."""


class CacheError(UserError):
    """An embedding cache is corrupt, of the wrong kind, or lacks proteins."""


class StorageError(UserError):
    """A disk is full or a path cannot be used; what was finished before is kept."""


class MemoryShortageError(UserError):
    """Memory of the machine or of its GPU does not suffice."""


class DeviceError(UserError):
    """The requested device or precision is not available."""


class ClusterError(UserError):
    """A cluster cannot be reached, or one of its workers cannot be used."""


class RankError(UserError):
    """Another process of the training has ended before it was done."""


class CheckpointError(UserError):
    """A checkpoint is missing, incomplete, altered, or does not fit the data."""


class TrackingError(UserError):
    """The tracking server cannot be reached, or lacks the named run."""


class JournalError(TrackingError):
    """A file cannot be read as the journal of a run."""
