"""Tests of downloads and mirrors, with wrong digests and hostile servers."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import requests

from ppi_train.data.benchmarks import (
    CATALOGUE,
    CatalogueFile,
    NotInMirrorError,
    _check_redirect,
    benchmark,
    fetch,
    local_path,
)
from ppi_train.errors import ConfigError, DownloadError

CONTENT = b"P1\tP2\t1\n"
FILE = CatalogueFile("https://example.org/data/pairs.tsv", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    file = tmp_path / "mirror" / "example.org" / "data" / "pairs.tsv"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return tmp_path / "mirror"


@pytest.fixture
def server(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(_QuietHandler, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def _files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_from_a_folder_and_only_once(tmp_path: Path, mirror: Path) -> None:
    path = fetch(FILE, data_dir=tmp_path / "data", mirror=str(mirror))
    assert path == tmp_path / "data" / "downloads" / "example.org" / "data" / "pairs.tsv"
    assert path.read_bytes() == CONTENT
    assert fetch(FILE, data_dir=tmp_path / "data", mirror="/no/such/mirror") == path


def test_a_damaged_copy_is_fetched_again(tmp_path: Path, mirror: Path) -> None:
    path = fetch(FILE, data_dir=tmp_path, mirror=str(mirror))
    path.write_bytes(CONTENT[:3])
    assert fetch(FILE, data_dir=tmp_path, mirror=str(mirror)).read_bytes() == CONTENT


def test_from_a_server(tmp_path: Path, server: str) -> None:
    by_mirror = fetch(FILE, data_dir=tmp_path / "one", mirror=server + "/")
    direct = CatalogueFile(f"{server}/example.org/data/pairs.tsv", FILE.sha256)
    by_url = fetch(direct, data_dir=tmp_path / "two", mirror=None)
    assert by_mirror.read_bytes() == by_url.read_bytes() == CONTENT


def test_a_mirror_that_lacks_the_file(tmp_path: Path, mirror: Path, server: str) -> None:
    other = CatalogueFile("https://example.org/data/other.tsv", FILE.sha256)
    for source in (str(mirror), server):
        with pytest.raises(NotInMirrorError, match="the mirror does not hold the file") as caught:
            fetch(other, data_dir=tmp_path / "data", mirror=source)
        assert f"{source}/example.org/data/other.tsv" in str(caught.value)
        assert "PPI_TRAIN_MIRROR" in str(caught.value)
    assert not _files_under(tmp_path / "data")


def test_another_file_than_the_catalogue_names(tmp_path: Path, mirror: Path) -> None:
    wrong = CatalogueFile(FILE.url, "0" * 64)
    with pytest.raises(DownloadError, match="not the one that the catalogue names") as caught:
        fetch(wrong, data_dir=tmp_path / "data", mirror=str(mirror))
    assert f"got: sha256 {FILE.sha256}" in str(caught.value)
    assert f"expected: sha256 {'0' * 64}" in str(caught.value)
    assert not _files_under(tmp_path / "data")


def test_the_mirror_itself_is_wrong(tmp_path: Path) -> None:
    for mirror, part in ((str(tmp_path / "none"), "is not there"), ("ftp://host/x", "neither a folder nor")):
        with pytest.raises(DownloadError, match=part) as caught:
            fetch(FILE, data_dir=tmp_path / "data", mirror=mirror)
        assert not isinstance(caught.value, NotInMirrorError)
        assert "PPI_TRAIN_MIRROR" in str(caught.value)


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = CatalogueFile(f"http://127.0.0.1:{port}/pairs.tsv", FILE.sha256)
    with pytest.raises(DownloadError, match="the server cannot be reached") as caught:
        fetch(file, data_dir=tmp_path, mirror=None)
    assert "parameter mirror or the variable PPI_TRAIN_MIRROR" in str(caught.value)
    assert not _files_under(tmp_path)


def test_a_server_that_refuses(tmp_path: Path, server: str) -> None:
    file = CatalogueFile(f"{server}/none.tsv", FILE.sha256)
    with pytest.raises(DownloadError, match="does not give the file") as caught:
        fetch(file, data_dir=tmp_path / "data", mirror=None)
    assert "HTTP status 404" in str(caught.value)


def test_a_file_without_a_known_digest_is_said_to_be_unchecked(
    tmp_path: Path, mirror: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch(CatalogueFile(FILE.url), data_dir=tmp_path / "data", mirror=str(mirror))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "was NOT CHECKED" in warnings[0]
    assert str(FILE.sha256) in warnings[0]
    assert not [record for record in caplog.records if record.name == "pooch"]


def test_a_folder_is_read_and_a_server_is_fetched_from(
    server: str, tmp_path: Path, mirror: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names where the bytes come from, not where they would without the mirror."""
    with caplog.at_level(logging.INFO):
        fetch(FILE, data_dir=tmp_path / "one", mirror=str(mirror))
        fetch(FILE, data_dir=tmp_path / "two", mirror=server)
    read, fetched = caplog.messages
    assert read.startswith(f"reading {mirror}/")
    assert fetched.startswith(f"fetching {server}/")


def test_a_data_dir_that_cannot_be_written(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be stored"):
        fetch(FILE, data_dir=tmp_path / "file", mirror=str(mirror))


def test_the_catalogue_is_complete() -> None:
    assert {"bernett", "pring_arath", "pring_yeast", "pring_ecoli", "pring_human", "human"} == set(CATALOGUE)
    for name, dataset in CATALOGUE.items():
        assert dataset.name == name
        assert dataset.title
        assert dataset.licence
        assert dataset.citation
        unchecked = [role for role, file in dataset.files.items() if file.sha256 is None]
        assert unchecked == (["sequences"] if name == "pring_human" else [])
        assert all(len(file.sha256 or "0" * 64) == 64 for file in dataset.files.values())
        assert len({file.url for file in dataset.files.values()}) == len(dataset.files)


def test_an_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean pring_arath") as caught:
        benchmark("pring_arat")
    assert "one of bernett, pring_arath" in str(caught.value)


class _Hostile(http.server.BaseHTTPRequestHandler):
    """Answers by the path: sends on, sends without end, or less than it says."""

    def do_GET(self) -> None:
        kind = self.path.rpartition("/")[2]
        if kind.startswith("to="):
            self.send_response(302)
            self.send_header("Location", unquote(kind.removeprefix("to=")))
            self.end_headers()
            return
        self.send_response(200)
        if kind == "cut":
            self.send_header("Content-Length", "1000")
        if kind == "nonsense":
            self.send_header("Content-Length", "many")
        if kind == "bomb":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if kind == "endless":
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x" * 65536)
        self.wfile.write(gzip.compress(bytes(50_000_000)) if kind == "bomb" else CONTENT)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hostile) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("kind", ["endless", "bomb"])
def test_a_server_that_sends_more_is_cut_off(
    hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: int | None
) -> None:
    monkeypatch.setattr("ppi_train.data.benchmarks.MAX_BYTES", 2_000_000)
    with pytest.raises(DownloadError, match="sends more than the file has, and was cut off") as caught:
        fetch(CatalogueFile(f"{hostile}/{kind}", FILE.sha256, size), data_dir=tmp_path, mirror=None)
    assert f"expected: at most {size or 2_000_000:,} bytes" in str(caught.value)
    assert not _files_under(tmp_path)


@pytest.mark.parametrize(
    ("kind", "told"), [("cut", "broke off"), ("nonsense", "not the one|broke off|does not give")]
)
def test_an_answer_that_is_cut_short_or_nonsense(hostile: str, tmp_path: Path, kind: str, told: str) -> None:
    wrong = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DownloadError, match=told):
        fetch(CatalogueFile(f"{hostile}/{kind}", wrong, 1000), data_dir=tmp_path, mirror=None)
    assert not _files_under(tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "gopher://x"])
def test_a_server_that_sends_us_out_of_the_web(hostile: str, tmp_path: Path, target: str) -> None:
    with pytest.raises(DownloadError, match="redirects to an address that is not safe") as caught:
        fetch(CatalogueFile(f"{hostile}/to={quote(target, safe='')}"), data_dir=tmp_path, mirror=None)
    assert target in str(caught.value)
    assert not _files_under(tmp_path)


def test_redirects_stay_on_the_web_and_never_leave_https(hostile: str, server: str, tmp_path: Path) -> None:
    target = quote(f"{server}/example.org/data/pairs.tsv", safe="")
    path = fetch(CatalogueFile(f"{hostile}/to={target}", FILE.sha256), data_dir=tmp_path, mirror=None)
    assert path.read_bytes() == CONTENT
    # No server of https is here: what its answer would be is given to the same check.
    for start, end, safe in [
        ("https://lab.org/a", "http://lab.org/a", False),
        ("https://lab.org/a", "//other.org/a", True),
        ("https://lab.org/a", "/b", True),
        ("https://lab.org/a", "https://other.org/a", True),
        ("http://lab.org/a", "https://lab.org/a", True),
    ]:
        answer = requests.Response()
        answer.status_code, answer.url, answer.headers["location"] = 302, start, end
        if safe:
            _check_redirect(answer)
            continue
        with pytest.raises(DownloadError, match="not safe"):
            _check_redirect(answer)


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path, mirror: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    target = tmp_path / "data" / "downloads" / "example.org" / "data" / "pairs.tsv"
    target.parent.mkdir(parents=True)
    target.symlink_to(victim)
    assert fetch(FILE, data_dir=tmp_path / "data", mirror=str(mirror)).read_bytes() == CONTENT
    assert victim.read_text() == "mine"
    assert not target.is_symlink()


def test_a_password_of_the_mirror_is_not_told(tmp_path: Path, server: str) -> None:
    mirror = server.replace("://", "://ann:s3cret@")
    with pytest.raises(DownloadError) as caught:
        fetch(CatalogueFile("https://example.org/none"), data_dir=tmp_path, mirror=mirror)
    assert "s3cret" not in str(caught.value)


def test_a_token_of_the_mirror_is_sent_and_not_told(tmp_path: Path, server: str) -> None:
    mirror = f"{server}/?token=s3cret"
    assert fetch(FILE, data_dir=tmp_path, mirror=mirror).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"/example\.org/none\?token=\*\*\*"):
        fetch(CatalogueFile("https://example.org/none"), data_dir=tmp_path, mirror=mirror)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_who_may_read_a_file_is_what_the_umask_says(
    tmp_path: Path, mirror: Path, server: str, umask: int
) -> None:
    before = os.umask(umask)
    try:
        for number, source in enumerate((str(mirror), server)):
            path = fetch(FILE, data_dir=tmp_path / str(number), mirror=source)
            assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


def test_the_catalogue_leads_to_no_folder_above() -> None:
    for dataset in CATALOGUE.values():
        for file in dataset.files.values():
            assert file.url.startswith("https://")
            assert ".." not in local_path(file, Path("data")).parts
