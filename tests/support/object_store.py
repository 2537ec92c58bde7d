"""An S3-like store on loopback, behind a proxy that counts, delays, refuses and cuts short."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ppi_train.io import store_cache, stores

BUCKET = "lab"
_PER_CONNECTION = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


class Store(ThreadingHTTPServer):
    """The proxy.

    Attributes:
        client: Of the store itself, past the proxy.
        requests: Method and path of each request.
        sent: Bytes of the bodies that came out of it.
        refusals: So many requests are answered with 503.
        forbidden: Every request is answered with 403.
        cuts: So many bodies end after half of their bytes.
        delay: Seconds before an answer.
    """

    daemon_threads = True

    def __init__(self, port: int, client: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.client, self.lock = port, client, threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forgets all requests, and behaves well again."""
        self.requests: list[str] = []
        self.sent = self.refusals = self.cuts = 0
        self.forbidden, self.delay = False, 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, key: str, data: bytes) -> str:
        """Stores an object; returns its address."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def listing(self) -> list[str]:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def take(self, fault: str) -> bool:
        """Whether this request gets a fault of which some are left."""
        with self.lock:
            left = getattr(self, fault)
            setattr(self, fault, max(left - 1, 0))
        return bool(left)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        store = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with store.lock:
            store.requests.append(f"{self.command} {self.path}")
        time.sleep(store.delay)
        if store.forbidden or store.take("refusals"):
            status = 403 if store.forbidden else 503
            self._send(status, {"Content-Type": "application/xml"}, b"" if self.command == "HEAD" else _ERROR)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", store.upstream, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        data, headers = answer.read(), dict(answer.getheaders())
        upstream.close()
        self._send(answer.status, headers, data)

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        for name, value in headers.items():
            if name.lower() not in _PER_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "GET" and status < 300 and self.server.take("cuts"):
            data = data[: len(data) // 2]
            self.close_connection = True
        with self.server.lock:
            self.server.sent += len(data)
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server calls


_ERROR = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def forget_connections() -> None:
    """Lets the next request take the environment as it is then."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    stores._opened.cache_clear()


def with_empty_cache(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, behaving well again, and no copies on this disk, which go to a folder."""
    store.reset()
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(folder))
    monkeypatch.setattr(store_cache, "_IN_USE", {})
    forget_connections()
    return store


@contextmanager
def object_store() -> Iterator[Store]:
    """A store with one bucket, and the environment in which commands find it."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: no client of S3-like stores")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed: no S3-like store")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server.start()
    port = server.get_host_and_port()[1]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket=BUCKET)
        store = Store(port, client)
        patch.setenv("AWS_ENDPOINT_URL", store.url)
        thread = threading.Thread(target=store.serve_forever, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            store.server_close()
            thread.join()
            server.stop()
