"""Files of the catalogue: fetched once, verified, and kept; from the internet or from a mirror.

A mirror is a folder or an http server that holds the same files as `<host>/<path>`, for machines
without internet. Every file is written to a temporary name and moved when its sha256 is right.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pooch

from ppi_train.data.catalogue import CatalogueFile
from ppi_train.errors import DownloadError

logger = logging.getLogger(__name__)

# Seconds to connect, and between two pieces of an answer.
TIMEOUT = (10, 60)

_MIRROR_REMEDY = (
    "check the network, or name a folder or an http server that holds the file as <host>/<path> "
    "with the parameter mirror or the variable PPI_TRAIN_MIRROR"
)

_Downloader = Callable[[str, str, object], None]


class NotInMirrorError(DownloadError):
    """The mirror is there and lacks this file."""


def fetch(file: CatalogueFile, *, data_dir: Path, mirror: str | None) -> Path:
    """The local copy of a catalogue's file, at `data_dir/downloads/<host>/<path>`.

    A copy that is there and has the right sha256 is taken as it is, and the mirror is not looked at. A
    file whose sha256 is not known is taken as it comes, and a warning says so.

    Raises:
        NotInMirrorError: the mirror lacks the file.
        DownloadError: the server or the mirror cannot be reached, or the file is another one than the
            catalogue names; nothing is left behind.
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
            downloader=_checked(file, _source(name, mirror)),
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
            "%s was NOT CHECKED: the catalogue knows no sha256 for it; what came has %s",
            file.url, pooch.file_hash(str(target)),
        )  # fmt: skip
    return target


def local_path(file: CatalogueFile, data_dir: Path) -> Path:
    """Where `fetch` keeps a file, whether it is there or not."""
    return data_dir / "downloads" / _mirror_name(file.url)


def _mirror_name(url: str) -> str:
    """`<host>/<path>` of a URL."""
    parts = urlsplit(url)
    return parts.netloc + parts.path


def _source(name: str, mirror: str | None) -> _Downloader:
    if mirror is None:
        return _over_http(None)
    if mirror.lower().startswith(("http://", "https://")):
        return _over_http(f"{mirror.rstrip('/')}/{name}")
    if "://" in mirror:
        raise DownloadError(
            "the mirror is neither a folder nor an http server",
            got=mirror,
            expected="a folder, or a URL with http:// or https://",
            remedy="correct the parameter mirror or the variable PPI_TRAIN_MIRROR",
        )
    return _from_folder(Path(mirror).expanduser(), name)


def _checked(file: CatalogueFile, download: _Downloader) -> _Downloader:
    """Compares the digest before pooch does, for a message that says what to do."""

    def downloader(url: str, output: str, caller: object) -> None:
        size = "" if file.size is None else f" ({file.size / 1e6:.1f} MB)"
        logger.info("fetching %s%s", url, size)
        download(url, output, caller)
        found = pooch.file_hash(output)
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


def _from_folder(folder: Path, name: str) -> _Downloader:
    def download(_url: str, output: str, _caller: object) -> None:
        if not folder.is_dir():
            raise DownloadError(
                "the mirror is not there",
                where=folder,
                expected="a folder, or a URL with http:// or https://",
                remedy="correct the parameter mirror or the variable PPI_TRAIN_MIRROR",
            )
        if not (folder / name).is_file():
            raise _not_in_mirror(folder / name)
        try:
            shutil.copyfile(folder / name, output)
        except OSError as error:
            raise DownloadError(
                "the file cannot be copied from the mirror", where=folder / name, got=error.strerror
            ) from error

    return download


def _over_http(mirror_url: str | None) -> _Downloader:
    http = pooch.HTTPDownloader(progressbar=False, timeout=TIMEOUT)

    def download(url: str, output: str, caller: object) -> None:
        address = mirror_url or url
        try:
            http(address, output, caller)
        except OSError as error:  # requests' exceptions are OSErrors too
            response = getattr(error, "response", None)
            if response is None:
                raise _unreachable(address, error) from error
            if mirror_url is not None and response.status_code in (404, 410):
                raise _not_in_mirror(address) from error
            raise DownloadError(
                "the server does not give the file",
                where=address,
                got=f"HTTP status {response.status_code}",
                remedy=_MIRROR_REMEDY,
            ) from error

    return download


def _unreachable(address: str, error: OSError) -> DownloadError:
    return DownloadError(
        "the server cannot be reached, or broke off",
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
