"""Messages when a server rejects a user or a request.

The answers are those of MLflow's authentication; `test_authentication.py` has the server itself, and takes
minutes.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from ppi_train.errors import TrackingError
from ppi_train.tracking.registry.aliases import holder_of
from ppi_train.tracking.run import TrackedRun

PASSWORD = "s3cret-of-ann"


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that knows ann by her password, and lets her read."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer()

        def _answer(self) -> None:
            known = self.headers.get("Authorization") == "Basic YW5uOnMzY3JldC1vZi1hbm4="
            may = self.path.endswith("/search")
            status, content = (200, b"{}") if may else (403, b"Permission denied")
            if not known:
                status, content = 401, b"You are not authenticated. Please see https://www.mlflow.org"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        uri = f"http://127.0.0.1:{served.server_address[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "1")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
        monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        yield uri
        served.shutdown()
        thread.join()


def test_who_may_only_read_is_told_what_is_lacking(refusing: str) -> None:
    with pytest.raises(TrackingError) as caught, TrackedRun("promote"):
        raise AssertionError("a run was started")
    told = str(caught.value)
    assert told.startswith("permission denied: the tracking server does not let user ann do this\n")
    assert f"where: {refusing}" in told
    assert "got: could not start a run: " in told
    assert "expected: the permission EDIT on the experiment, and to promote also on the registered" in told
    assert "ask the server's administrator" in told
    assert PASSWORD not in told


@pytest.mark.parametrize(("user", "password"), [("ann", "wrong-s3cret"), ("", "")])
def test_a_wrong_password_or_none(
    refusing: str, user: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(TrackingError) as caught:
        holder_of("ppi", "champion")
    told = str(caught.value)
    wanted = "does not accept the user name and password" if user else "requires a user name and a password"
    assert wanted in told
    assert f"where: {refusing}" in told
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in told
    assert "wrong-s3cret" not in told


def test_a_password_in_the_uri_is_sent_and_not_told(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing.replace("://", f"://ann:{PASSWORD}@"))
    with pytest.raises(TrackingError, match="does not let user ann do this") as caught:
        holder_of("ppi", "champion")
    assert PASSWORD not in str(caught.value)
    assert f"where: {refusing.replace('://', '://***@')}" in str(caught.value)
