"""Files in object stores: `s3://`, `gs://`, `az://` and the other addresses that fsspec knows.

No other file imports fsspec. Each function makes as few requests as it can, takes the store's credentials
from its standard environment variables and files, and reports errors by their cause. A file is never half
there: what came is compared in size with what was sent, in both directions.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ppi_train.errors import ConfigError, DataError, UserError, first_line
from ppi_train.io.unavailable import UnavailableError

logger = logging.getLogger(__name__)

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://.")
# Where an address may begin in a value: at its start, in a list, or after `name=`.
URLS = re.compile(r"(?<![^,=\s])[a-z][a-z0-9+.-]*://[^,]+")

# Seconds to connect, and without a byte.
CONNECT_SECONDS = 5
READ_SECONDS = 30
# A request that is refused or not answered is made so many times, and all of that again where a body is cut
# or late: an outage is reported within minutes.
_ATTEMPTS = 3
_ROUNDS = 2

# What tells one state of an object from another, the best first.
_VERSIONS = (
    "ETag",
    "etag",
    "generation",
    "md5Hash",
    "content_md5",
    "LastModified",
    "last_modified",
    "updated",
)
_TIMES = ("mtime", "created", "Last-Modified")

_CREDENTIALS = (
    "set the variables of the store (s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a store that is "
    "not Amazon's, AWS_ENDPOINT_URL; gs: GOOGLE_APPLICATION_CREDENTIALS; az: AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY)"
)
_AGAIN = "give the command again; the object itself may be whole"
# Causes by the names of exceptions, since the libraries of the stores need not be installed.
_NO_CREDENTIALS = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError",
    "DefaultCredentialsError", "RefreshError", "ClientAuthenticationError",
})  # fmt: skip
_TOO_SLOW = frozenset({
    "TimeoutError", "FSTimeoutError", "ReadTimeoutError", "ConnectTimeoutError", "ServerTimeoutError",
})  # fmt: skip
_NOBODY = frozenset({
    "EndpointConnectionError", "ClientConnectorError", "ConnectionRefusedError", "ConnectionClosedError",
    "ServerDisconnectedError", "ConnectionResetError", "gaierror",
})  # fmt: skip
_CUT = frozenset({"IncompleteRead", "IncompleteReadError", "ClientPayloadError", "ResponseStreamingError"})
_OVERLOADED = re.compile(
    r"\b50[0234]\b|SlowDown|[Ss]ervice ?[Uu]navailable|[Rr]educe your request rate|InternalError"
)
_NO_BUCKET = re.compile(r"NoSuchBucket|bucket does not exist|ContainerNotFound|container does not exist")


def is_url(text: str) -> bool:
    """Whether a text is an address, and not a path.

    >>> is_url("s3://lab/pairs.tsv"), is_url("data/pairs.tsv")
    (True, False)
    """
    return bool(_SCHEME.match(text))


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object of a store: its address, size in bytes, and what tells this state of it from a later one."""

    url: str
    size: int
    version: str


def find(url: str) -> StoredObject:
    """The object at an address, by one request.

    Raises:
        DataError: there is none, or no such bucket.
        UnavailableError: the store does not give it.
        ConfigError: no library for such addresses is installed.
    """
    with _reported(url):
        system, path = _place(url)
        about = system.info(path)
    if about["type"] != "file" or about.get("size") is None:
        raise DataError("the address is not that of an object", where=url, got=f"a {about['type']}")
    return _stored(url, about)


def listed(url: str, ending: str) -> list[StoredObject]:
    """The objects directly under an address whose names have this ending, by name; see `find` for errors."""
    with _reported(url):
        system, path = _place(url.rstrip("/"))
        found = system.ls(path, detail=True)
    names = {str(about["name"]).rpartition("/")[2]: about for about in found if about["type"] == "file"}
    root = url.rstrip("/")
    return [_stored(f"{root}/{name}", names[name]) for name in sorted(names) if name.endswith(ending)]


def exists(url: str) -> bool:
    """Whether there is an object, also where its bucket may not be listed; see `find` for errors."""
    try:
        with _reported(url):
            system, path = _place(url)
            system.info(path)
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError) and not _NO_BUCKET.search(str(error.__cause__)):
            return False
        raise
    return True


def read_ranges(stored: StoredObject, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes of ranges (first, last + 1), by a request each, which go on at the same time.

    Raises:
        DataError, UnavailableError: as `find`; or the store sent another number of bytes.
    """
    sizes = [end - start for start, end in ranges]
    starts, ends = ([bounds[side] for bounds in ranges] for side in (0, 1))
    for _ in range(_ATTEMPTS):
        with _reported(stored.url):
            system, path = _place(stored.url)
            found: list[bytes] = system.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")
        if [len(data) for data in found] == sizes:
            return found
    raise _cut_error(stored.url, sum(map(len, found)), sum(sizes))


def download(stored: StoredObject, path: Path) -> None:
    """Fetches a whole object.

    Raises:
        DataError, UnavailableError: as `find`; or the store sent another number of bytes.
        OSError: the file cannot be written.
    """
    for _ in range(_ATTEMPTS):
        path.touch()  # an error of this disk is not one of the store
        with _reported(stored.url):
            system, place = _place(stored.url)
            system.get_file(place, str(path))
        size = path.stat().st_size
        if size == stored.size:
            return
    raise _cut_error(stored.url, size, stored.size)


def upload(path: Path, url: str) -> None:
    """Sends a file; the object appears when all of it has arrived.

    Raises:
        DataError, UnavailableError: as `find`; or the object has another size than the file.
    """
    size = path.stat().st_size
    with _reported(url):
        system, place = _place(url)
        system.put_file(str(path), place)
    found = find(url).size
    if found != size:
        raise _cut_error(url, found, size)


def check_writable(url: str) -> None:
    """Sends an empty object with a name next to this one, and removes it.

    Raises:
        DataError, UnavailableError: as `find`.
    """
    folder, _, name = url.rpartition("/")
    with _reported(url):
        system, place = _place(f"{folder}/.{name}.{secrets.token_hex(6)}.partial")
        system.pipe_file(place, b"")
        system.rm_file(place)


def _stored(url: str, about: Mapping[str, Any]) -> StoredObject:
    version = next((str(about[name]) for name in (*_VERSIONS, *_TIMES) if about.get(name)), "")
    return StoredObject(url=url, size=int(about["size"]), version=version)


def _place(url: str) -> tuple[Any, str]:
    """The file system of an address, and its path there."""
    return _opened(url, os.getpid())


@lru_cache(maxsize=1024)
def _opened(url: str, process: int) -> tuple[Any, str]:  # noqa: ARG001 - its threads do not survive a fork
    from fsspec.core import url_to_fs  # the extra `stores`

    for library in ("aiobotocore", "botocore"):  # which say where they found credentials
        logging.getLogger(library).setLevel(logging.WARNING)
    options: dict[str, object] = {"use_listings_cache": False}
    if url.startswith(("s3://", "s3a://")):
        retries = {"mode": "standard", "max_attempts": _ATTEMPTS}
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "retries": retries,
        }
    system, path = url_to_fs(url, **options)
    if hasattr(system, "retries"):
        system.retries = _ROUNDS
    return system, str(path)


@contextmanager
def _reported(url: str) -> Iterator[None]:
    """Reports what a library of a store raises, by its cause."""
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise ConfigError(
            "addresses of object stores need a library that is not installed",
            where=url,
            got=first_line(error),
            remedy='pip install "ppi_train[stores]" for s3://; pip install gcsfs for gs://, adlfs for az://',
        ) from error
    except Exception as error:
        raise _error(error, url) from error


def _error(error: Exception, url: str) -> UserError:
    names, text = _names(error), str(error)
    if isinstance(error, ValueError) and "rotocol" in text:
        return ConfigError("there is no such kind of address", where=url, got=first_line(error),
                           expected="s3://, gs://, az:// or another that fsspec knows")  # fmt: skip
    if isinstance(error, FileNotFoundError):
        if _NO_BUCKET.search(text):
            return DataError("there is no such bucket", where=url, remedy="check the name of the bucket, and "
                             "AWS_ENDPOINT_URL if the store is not Amazon's")  # fmt: skip
        return DataError("there is no such object in the store", where=url, remedy="check the address")
    causes = (
        (names & _NO_CREDENTIALS, "the store wants credentials, and there are none", _CREDENTIALS),
        ("PermissionError" in names, "the store refuses access",
         "get permission for the bucket and this object, or give other credentials; a store may also say "
         "this of an object that is not there"),
        (names & _CUT, "the store cut its answer short", _AGAIN),
        (names & _TOO_SLOW, "the store is too slow, or does not answer", _AGAIN),
        (names & _NOBODY, "nobody answers at the store's address",
         "check the network and the store's address (AWS_ENDPOINT_URL)"),
        (_OVERLOADED.search(text), "the store is overloaded or out of order", f"wait, then {_AGAIN}"),
    )  # fmt: skip
    what, remedy = next(
        ((what, remedy) for found, what, remedy in causes if found), ("the store refused a request", _AGAIN)
    )
    return UnavailableError(what, where=url, got=first_line(error), remedy=remedy)


def _names(error: BaseException | None) -> frozenset[str]:
    """The names of the classes of an error and of what caused it."""
    found: set[str] = set()
    while error is not None:
        found |= {kind.__name__ for kind in type(error).__mro__}
        error = error.__cause__ or error.__context__
    return frozenset(found)


def _cut_error(url: str, got: int, expected: int) -> UnavailableError:
    return UnavailableError(
        "the store cut its answer short, or the object was replaced",
        where=url,
        got=f"{got:,} bytes",
        expected=f"{expected:,} bytes",
        remedy=_AGAIN,
    )
