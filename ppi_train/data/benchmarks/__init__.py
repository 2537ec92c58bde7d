"""The published benchmarks of `catalogue.toml`, and the download of their files.

Each file is fetched once, verified and kept. A mirror is a folder or an http server that has the same
files as `<host>/<path>`, for machines without internet. Every file is written to a temporary name and
moved when its sha256 is right. A server can send no more than the size in the catalogue, and cannot
redirect from https to http or to other protocols.
"""

from __future__ import annotations

import logging
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urljoin, urlsplit

import pooch
import requests

from ppi_train.errors import ConfigError, DownloadError, nearest, shown
from ppi_train.io.files import expanded, file_digest

logger = logging.getLogger(__name__)

# Seconds to connect, and between two pieces of an answer.
TIMEOUT = (10, 60)
# Limit for a file of unknown size; the largest benchmark has a hundredth of it.
MAX_BYTES = 4 << 30
_PIECE = 1 << 18
_MIRROR_REMEDY = (
    "check the network, or name a folder or an http server that holds the file as <host>/<path> "
    "with the parameter mirror or the variable PPI_TRAIN_MIRROR"
)


@dataclass(frozen=True)
class CatalogueFile:
    """A file to fetch.

    `sha256` is None if the file has not been verified yet; `size` is in bytes, None if unknown.
    """

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A published data set.

    `files` maps a role, such as `train_pairs`, to its file.
    """

    name: str
    title: str
    licence: str
    citation: str
    files: Mapping[str, CatalogueFile]


def _read_catalogue() -> Mapping[str, Benchmark]:
    tables = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    found: dict[str, Benchmark] = {}
    for name, table in tables.items():
        source, files, parts = table.pop("source", ""), table.pop("files", {}), table.pop("parts", {})
        urls = {role: CatalogueFile(source + file.pop("path"), **file) for role, file in files.items()}
        for role, place in parts.items():
            other, _, part = place.partition(".")
            urls[role] = found[other].files[part]
        found[name] = Benchmark(name=name, files=MappingProxyType(urls), **table)
    return MappingProxyType(found)


CATALOGUE = _read_catalogue()


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the message lists the nearest names and all of them.
    """
    if name not in CATALOGUE:
        raise unknown_name("benchmark", name, tuple(CATALOGUE))
    return CATALOGUE[name]


def unknown_name(kind: str, name: str, known: tuple[str, ...]) -> ConfigError:
    """The error for an unknown name, with the nearest known names."""
    return ConfigError(
        f"there is no {kind} {name!r}",
        got=name,
        expected="one of " + ", ".join(known),
        remedy=nearest(name, known),
    )


_Downloader = Callable[[str, str, object], None]


class NotInMirrorError(DownloadError):
    """The mirror is there and lacks this file."""


def fetch(file: CatalogueFile, *, data_dir: Path, mirror: str | None) -> Path:
    """The local copy of a catalogue's file, at `data_dir/downloads/<host>/<path>`.

    An existing copy with the right sha256 is used without a look at the mirror. A file of unknown sha256
    is accepted with a warning.

    Raises:
        NotInMirrorError: the mirror lacks the file.
        DownloadError: the server or the mirror cannot be reached, or the file is not the one in the
            catalogue; nothing is left behind.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    name = _mirror_name(file.url)
    target = local_path(file, data_dir)
    had = target.exists()
    try:
        pooch.retrieve(
            file.url,
            known_hash=None if file.sha256 is None else f"sha256:{file.sha256}",
            fname=name,
            path=data_dir / "downloads",
            downloader=_checked(file, _source(file, name, mirror)),
        )
    except OSError as error:
        raise DownloadError(
            "the file cannot be stored",
            where=target,
            got=error.strerror or str(error),
            remedy="give a data_dir that can be written",
        ) from error
    if file.sha256 is None and not had:
        logger.warning(
            "%s was NOT CHECKED: the catalogue has no sha256 for it; the received file has %s",
            file.url, file_digest(target),
        )  # fmt: skip
    return target


def local_path(file: CatalogueFile, data_dir: Path) -> Path:
    """Where `fetch` keeps a file, whether it is there or not."""
    return data_dir / "downloads" / _mirror_name(file.url)


def _mirror_name(url: str) -> str:
    """`<host>/<path>` of a URL."""
    parts = urlsplit(url)
    return parts.netloc + parts.path


def _source(file: CatalogueFile, name: str, mirror: str | None) -> _Downloader:
    if mirror is None:
        return _over_http(file, None)
    if mirror.lower().startswith(("http://", "https://")):
        parts = urlsplit(mirror)  # a query, such as a token, stays behind the path
        return _over_http(file, parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl())
    if "://" in mirror:
        raise DownloadError(
            "the mirror is neither a folder nor an http server",
            got=mirror,
            expected="a folder, or a URL with http:// or https://",
            remedy="correct the parameter mirror or the variable PPI_TRAIN_MIRROR",
        )
    return _from_folder(file, expanded(mirror), name)


def _checked(file: CatalogueFile, download: _Downloader) -> _Downloader:
    """Checks the digest before pooch does, for a better message."""

    def downloader(url: str, output: str, caller: object) -> None:
        Path(output).unlink()  # pooch makes it readable for its owner only; the umask should decide
        download(url, output, caller)
        found = file_digest(Path(output))
        if file.sha256 is not None and found != file.sha256:
            raise DownloadError(
                "the file is not the one that the catalogue names, and was removed",
                where=url,
                got=f"sha256 {found}",
                expected=f"sha256 {file.sha256}",
                remedy="try again; if the digest stays the same, the source (or the mirror, where the "
                "parameter mirror or PPI_TRAIN_MIRROR names one) holds another version",
            )

    return downloader


def _log_start(action: str, place: str | Path, file: CatalogueFile) -> None:
    size = "" if file.size is None else f" ({file.size / 1e6:.1f} MB)"
    logger.info("%s %s%s", action, place, size)


def _from_folder(file: CatalogueFile, folder: Path, name: str) -> _Downloader:
    def download(_url: str, output: str, _caller: object) -> None:
        try:
            if not folder.is_dir():
                raise DownloadError(
                    "the mirror is not there",
                    where=folder,
                    expected="a folder, or a URL with http:// or https://",
                    remedy="correct the parameter mirror or the variable PPI_TRAIN_MIRROR",
                )
            if not (folder / name).is_file():
                raise _not_in_mirror(folder / name)
            _log_start("reading", folder / name, file)
            shutil.copyfile(folder / name, output)
        except OSError as error:
            raise DownloadError(
                "the file cannot be copied from the mirror", where=folder / name, got=error.strerror
            ) from error

    return download


def _over_http(file: CatalogueFile, mirror_url: str | None) -> _Downloader:
    def download(url: str, output: str, _caller: object) -> None:
        address = mirror_url or url
        _log_start("fetching", shown(address), file)
        try:
            with Path(output).open("xb") as stream:
                for piece in _received(address, MAX_BYTES if file.size is None else file.size):
                    stream.write(piece)
        except requests.RequestException as error:
            raise _not_given(error, address, is_mirror=mirror_url is not None) from error

    return download


def _received(address: str, most: int) -> Iterator[bytes]:
    """The pieces of a server's answer, up to `most` bytes."""
    hooks = {"response": _check_redirect}
    with requests.get(address, stream=True, timeout=TIMEOUT, hooks=hooks) as response:
        response.raise_for_status()
        received = 0
        for piece in response.iter_content(_PIECE):
            received += len(piece)
            if received > most:
                raise DownloadError(
                    "the server sends more than the file has, and was cut off",
                    where=address,
                    got=f"more than {most:,} bytes",
                    expected=f"at most {most:,} bytes",
                    remedy=_MIRROR_REMEDY,
                )
            yield piece


def _check_redirect(response: requests.Response, **_given: object) -> None:
    """Refuses redirects from https to http, or to other protocols."""
    if not response.is_redirect:
        return
    target = urljoin(response.url, response.headers["location"])
    scheme = urlsplit(target).scheme
    if scheme != "https" and not (scheme == "http" and urlsplit(response.url).scheme == "http"):
        raise DownloadError(
            "the server redirects to an address that is not safe",
            where=response.url,
            got=target[:200],
            expected="https://, or http:// if the server itself is at http://",
            remedy=_MIRROR_REMEDY,
        )


def _not_given(error: requests.RequestException, address: str, *, is_mirror: bool) -> DownloadError:
    if error.response is None:
        return _unreachable(address, error)
    if is_mirror and error.response.status_code in (404, 410):
        return _not_in_mirror(address)
    return DownloadError(
        "the server does not give the file",
        where=address,
        got=f"HTTP status {error.response.status_code}",
        remedy=_MIRROR_REMEDY,
    )


def _unreachable(address: str, error: OSError) -> DownloadError:
    return DownloadError(
        "the server cannot be reached, or broke off the transfer",
        where=address,
        got=f"{type(error).__name__}: {str(error)[:200]}",
        remedy=_MIRROR_REMEDY,
    )


def _not_in_mirror(where: object) -> NotInMirrorError:
    return NotInMirrorError(
        "the mirror does not hold the file",
        where=where,
        remedy="add the file to the mirror, or leave the parameter mirror and PPI_TRAIN_MIRROR unset "
        "to take it from the internet",
    )
