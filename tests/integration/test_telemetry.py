"""Tests that a run contacts nobody but the servers that it was given."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.stores import make_store

# MLflow sends no telemetry where one of these is set, whatever else is set.
_OF_CI = ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILDKITE", "TF_BUILD")


def contacted(folder: Path, **variables: str) -> list[str]:
    """The hosts outside this machine that a run asks a proxy for."""
    asked: list[str] = []

    def record(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(1000).split(b"\r\n")[0].decode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=record, args=(listener,), daemon=True).start()
        given = {name: value for name, value in os.environ.items() if name not in (*_OF_CI, "NO_PROXY")}
        given |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "PYTHONPATH": str(ROOT)}
        given["MLFLOW_TRACKING_URI"] = make_store(folder / "mlflow.db")
        given.pop("MLFLOW_DISABLE_TELEMETRY", None)
        command = [sys.executable, "-m", "ppi_train", "prepare_data", "--dataset", "example"]
        subprocess.run(command, cwd=folder, env=given | variables, check=True, capture_output=True)
    return asked


def test_a_run_sends_no_telemetry(tmp_path: Path) -> None:
    assert contacted(tmp_path) == []


@pytest.mark.slow
def test_telemetry_that_was_asked_for_is_sent(tmp_path: Path) -> None:
    """Shows that the test above would notice it, and that the user's own setting counts."""
    assert any("telemetry" in line for line in contacted(tmp_path, MLFLOW_DISABLE_TELEMETRY="false"))
