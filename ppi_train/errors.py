"""The exceptions that a user can meet.

Each carries what happened, where, what was got, what was expected and what to do about it, and
prints as one message. Anything else that is raised is a fault of this project.
"""

from __future__ import annotations

import re
from typing import Self

# Letters of a value that a message shows: whole accessions and paths, but no file in one line.
_LONGEST = 20_000
# A password may have any of `/:@` in it, so that all up to the last @ goes. What follows a port is none, as
# in http://host:5000/models:/name@alias.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^\s/:@]*:(?!\d+(?:[/\s,;]|$))\S*@|(?:[^\s/@]*@)+)")


def shown(text: str) -> str:
    """A text as a terminal, a log or the tracking server may have it.

    User names and passwords in URLs become `***`. Control characters, with which a hostile file could
    rewrite a terminal, and bytes that are no text are escaped; line ends and tabs stay.

    >>> shown("https://ann:secret@lab.org/ \\x1b[2J")
    'https://***@lab.org/ \\\\x1b[2J'
    """
    text = _CREDENTIALS.sub("***@", text)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _escaped(one) for one in text)


def has_credentials(text: str) -> bool:
    """Whether a text has a URL with a user name or a password in it."""
    return bool(_CREDENTIALS.search(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class UserError(ValueError):
    """A mistake that the user can mend; the command ends with exit code 2 and this message.

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
        """The same mistake, told of a place that the user knows better."""
        return type(self)(self.what, where=where, got=self.got, expected=self.expected, remedy=self.remedy)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} letters)"


class ConfigError(UserError):
    """A parameter or a config file is wrong; lists every problem found."""


class DataError(UserError):
    """A FASTA, a pair table or a data set is wrong or absent."""


class DownloadError(DataError):
    """A benchmark file could not be fetched, or is not the file that the catalogue names."""


class CacheError(UserError):
    """An embedding cache is corrupt, of another kind than asked for, or lacks proteins."""


class StorageError(UserError):
    """A disk has no room for what is to be written; what was finished before is kept."""


class DeviceError(UserError):
    """The device or the precision that was asked for is not to be had."""


class CheckpointError(UserError):
    """A checkpoint is absent, incomplete, altered, or does not fit the data at hand."""


class TrackingError(UserError):
    """The tracking server cannot be reached, or does not have the run that was named."""


class JournalError(TrackingError):
    """The journal of a run cannot be read, or was never one."""
