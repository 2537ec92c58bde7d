"""Fault injection: a tracking server, an unreliable proxy, and full disks."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.stores import make_store

PASS = "pass"
REFUSE = "refuse"  # answers 500
CUT = "cut"  # closes the connection before the server has heard anything
LOSE = "lose"  # closes it after the server has done what was asked
HANG = "hang"  # accepts and does not answer
SLOW = "slow"  # answers an upload only after `delay` seconds, as a server whose store is slow


class FaultyProxy:
    """Passes requests on to a server, except those for which `fault` says otherwise.

    Attributes:
        uri: Where it listens.
        fault: From the number of a request, from 1 on since it was last set, to one of the words above.
        requests: How many there were since then.
        uploads: How many of these were slow uploads.
        delay: Seconds that these take.
    """

    delay = 2.5

    def __init__(self, server: str) -> None:
        self._target = urlsplit(server)
        self.fault: Callable[[int], str] = lambda _: PASS
        self.requests = 0
        self.faults = self.uploads = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self) -> None:
                proxy._handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._listener.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._listener.server_address[1]}"
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()

    def set(self, fault: str | Callable[[int], str]) -> None:
        """From now on does this, with each request or with the n-th from here."""
        with self._lock:
            self.requests = self.faults = self.uploads = 0
            self.fault = fault if callable(fault) else lambda _: fault
        if fault == PASS:
            self._released.set()

    def _next(self) -> str:
        with self._lock:
            self.requests += 1
            fault = self.fault(self.requests)
            self.faults += fault != PASS
            return fault

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self._next()
        if fault == HANG:
            self._released.wait()
        if fault == SLOW and request.command == "PUT":
            self.uploads += 1
            time.sleep(self.delay)
        if fault in (CUT, HANG):
            request.close_connection = True
            return
        if fault == REFUSE:
            answer, content = (500, {"Content-Type": "application/json"}), b'{"error_code": "INTERNAL_ERROR"}'
        else:
            try:
                answer, content = self._ask(request, body)
            except OSError:  # the server itself is away
                request.close_connection = True
                return
        if fault == LOSE:
            request.close_connection = True
            return
        with contextlib.suppress(ConnectionError):  # whoever asked may have lost patience
            self._answer(request, answer, content)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, answer: tuple[int, dict[str, str]], content: bytes) -> None:
        request.send_response(answer[0])
        for name, value in answer[1].items():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[tuple[int, dict[str, str]], bytes]:
        connection = http.client.HTTPConnection(str(self._target.hostname), self._target.port, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        try:
            connection.request(request.command, request.path, body=body, headers=headers)
            answer = connection.getresponse()
            return (answer.status, dict(answer.getheaders())), answer.read()
        finally:
            connection.close()

    def close(self) -> None:
        self._released.set()
        self._listener.shutdown()
        self._listener.server_close()


@contextmanager
def faulty_proxy(server: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(server)
    try:
        yield proxy
    finally:
        proxy.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_server(folder: Path, port: int, *, store: str = "") -> Iterator[str]:
    """A real MLflow server on loopback that proxies artifacts; all that it keeps is in the folder.

    `store` is the URI of another database than its own.
    """
    uri = f"http://127.0.0.1:{port}"
    with (folder / "log").open("a") as log:
        process = start_server(folder, port, log, store=store)
        try:
            wait_until_healthy(uri, process, folder / "log")
            yield uri
        finally:
            process.terminate()
            process.wait(timeout=30)


def start_server(folder: Path, port: int, log: IO[str], *, store: str = "") -> subprocess.Popen[bytes]:
    """Starts one that may be killed, and started again on what it has kept; it leads a process group."""
    if not store and not (folder / "server.db").exists():
        make_store(folder / "server.db")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store or f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # Without its job runner, eight processes that nothing here asks anything of, it starts sooner.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.Popen(
        command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
    )


def wait_until_healthy(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for a server to answer."""
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise AssertionError(f"the tracking server did not start: {log.read_text()}")


def kill_server(process: subprocess.Popen[bytes]) -> None:
    """As a machine that goes down: all of its processes at once, without a word."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


@contextmanager
def mounted_disk(folder: Path, size: str) -> Iterator[Path]:
    """A real disk of its own, in memory; skips the test where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leaves no byte free; gives the file that takes the room."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"\0" * 4096)
        except OSError:
            return path
