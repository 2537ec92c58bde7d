"""Tests with MLflow's own authentication in front of the tracking server.

A user with read permission cannot promote, and the message says why.

The commands are those of docs/design/security.md, on loopback.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException

from ppi_train.cli import run_mode
from ppi_train.errors import TrackingError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.tracking.registry.aliases import holder_of
from tests.support import ROOT
from tests.support.stores import make_store

pytestmark = pytest.mark.slow
pytest.importorskip("flask_wtf", reason="Flask-WTF is not installed: no server with authentication")

NAME = "ppi"
PASSWORDS = {name: f"{name}-s3cret-of-ours" for name in ("admin", "trainer", "stager", "reader")}


@dataclass
class Guarded:
    """A server with an admin, a trainer who has made all there is, a stager who may train, and a reader."""

    uri: str
    experiment: str
    folder: Path
    trained: list[PipelineResult]
    places: dict[str, Any]

    def log_in(self, patch: pytest.MonkeyPatch, user: str) -> mlflow.MlflowClient:
        patch.setenv("MLFLOW_TRACKING_USERNAME", user)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS[user])
        return mlflow.MlflowClient(self.uri)

    def promotion(self, number: int) -> dict[str, str]:
        return {"run_id": self.trained[number].run_id, "registered_model": NAME, "bootstrap_resamples": "100"}


def documented(start: str, end: str) -> str:
    """What stands in docs/design/security.md between two texts, the first of which stands there once."""
    (_, rest) = (ROOT / "docs/design/security.md").read_text().split(start)
    return rest.partition(end)[0]


def ask_admin(uri: str, path: str, **content: str) -> None:
    answer = requests.post(f"{uri}/api/{path}", json=content, auth=("admin", PASSWORDS["admin"]), timeout=30)
    assert answer.ok, answer.text


def permit(uri: str, user: str, kind: str, which: str, permission: str = "EDIT") -> None:
    ask_admin(
        uri, "3.0/mlflow/users/permissions/grant",
        username=user, resource_type=kind, resource_id=which, permission=permission,
    )  # fmt: skip


@pytest.fixture(scope="module")
def guarded(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    (folder / "auth.ini").write_text(documented("<<'INI'\n", "INI\n"))
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", make_store(folder / "server.db")]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {
        **os.environ, "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORDS["admin"], "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        _wait(uri, process, folder / "log")
        with pytest.MonkeyPatch.context() as patch:
            yield _with_users(uri, folder, data_dir, patch)
    finally:
        process.terminate()
        process.wait(timeout=120)


def _wait(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{uri}/health", timeout=10).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def _with_users(uri: str, folder: Path, data_dir: Path, patch: pytest.MonkeyPatch) -> Guarded:
    patch.setenv("PPI_TRAIN_CACHE", str(folder / "cache"))
    patch.setenv("HOME", str(folder))  # no credentials of whoever runs the tests
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    patch.delenv("MLFLOW_RUN_ID", raising=False)
    patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    for user in ("trainer", "stager", "reader"):
        ask_admin(uri, "2.0/mlflow/users/create", username=user, password=PASSWORDS[user])
    places = {"data_dir": str(data_dir), "output_dir": str(folder / "runs")}
    guarded = Guarded(uri, "", folder, [], places)
    client = guarded.log_in(patch, "trainer")
    guarded.experiment = client.create_experiment("ours")
    permit(uri, "stager", "experiment", guarded.experiment)
    patch.setenv("MLFLOW_EXPERIMENT_ID", guarded.experiment)
    for epochs in (1, 8):
        guarded.trained.append(execute_pipeline("train_only", places | {"epochs": epochs}))
    execute_pipeline("promote", places | guarded.promotion(0))
    assert champion(client) == "1"
    return guarded


def champion(client: mlflow.MlflowClient) -> str:
    return str(client.get_model_version_by_alias(NAME, "champion").version)


@pytest.mark.parametrize("mode", ["promote", "eval_only", "train_only"])
def test_a_reader_can_look_but_writes_no_run(
    guarded: Guarded, mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = guarded.log_in(monkeypatch, "reader")
    before = len(client.search_runs([guarded.experiment]))
    given = {"promote": guarded.promotion(1), "eval_only": {"run_id": guarded.trained[1].run_id}}.get(
        mode, {}
    )
    assert run_mode(mode, {**guarded.places, **given}) == 2
    told = capsys.readouterr().err
    assert "error: permission denied: the tracking server does not let user reader do this" in told
    assert "could not start a run" in told
    assert "the permission EDIT on the experiment" in told
    assert "ask the server's administrator" in told
    assert "Traceback" not in told
    assert PASSWORDS["reader"] not in told
    assert champion(client) == "1"
    assert len(client.search_runs([guarded.experiment])) == before


def test_who_may_train_cannot_promote_and_the_alias_stays(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run that would have won: the comparison is kept, in a run that is FAILED."""
    client = guarded.log_in(monkeypatch, "stager")
    assert run_mode("promote", {**guarded.places, **guarded.promotion(1)}) == 2
    told = capsys.readouterr().err
    assert "permission denied: the tracking server does not let user stager do this" in told
    assert f"promote to models:/{NAME}@champion" in told
    assert "to promote also on the registered model" in told
    assert champion(client) == "1"
    assert [str(version.version) for version in client.search_model_versions(f"name = '{NAME}'")] == ["1"]
    newest = client.search_runs([guarded.experiment], order_by=["attributes.start_time DESC"])[0]
    assert newest.info.status == "FAILED"
    assert newest.data.tags["ppi.error"].startswith("permission denied")
    assert run_mode("rollback", {"registered_model": NAME}) == 2
    assert champion(client) == "1"
    # With the permission, the same promotion passes.
    permit(guarded.uri, "stager", "registered_model", NAME)
    try:
        code = run_mode("promote", {**guarded.places, **guarded.promotion(1)})
        assert code == 0, capsys.readouterr().err
        assert champion(client) == "2"
    finally:
        guarded.log_in(monkeypatch, "admin").set_registered_model_alias(NAME, "champion", "1")


@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        ("reader", "wrong-s3cret", "does not accept the user name and password"),
        ("nobody", "wrong-s3cret", "does not accept the user name and password"),
        ("", "", "requires a user name and a password"),
    ],
)
def test_a_wrong_password_is_told(
    guarded: Guarded,
    user: str,
    password: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    assert run_mode("eval_only", {**guarded.places, "run_id": guarded.trained[0].run_id}) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in told
    assert "~/.mlflow/credentials" in told
    assert "Traceback" not in told
    assert "wrong-s3cret" not in told


def test_credentials_from_the_file(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with pytest.raises(TrackingError, match="requires a user name and a password"):
        holder_of(NAME, "champion")
    file = guarded.folder / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_text(
        f"[mlflow]\nmlflow_tracking_username = reader\nmlflow_tracking_password = {PASSWORDS['reader']}\n"
    )
    try:
        found = holder_of(NAME, "champion")
    finally:
        file.unlink()
        file.parent.rmdir()
    assert found is not None
    assert found.version == "1"


def test_a_password_in_the_uri_works_and_is_neither_told_nor_kept(guarded: Guarded, tmp_path: Path) -> None:
    """As a process, whose whole output is searched, and all that the server and the run have kept."""
    secret = PASSWORDS["trainer"]
    uri = guarded.uri.replace("://", f"://trainer:{secret}@")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PPI_TRAIN_CACHE": str(tmp_path / "cache")}
    for name in ("USERNAME", "PASSWORD"):
        environment.pop(f"MLFLOW_TRACKING_{name}", None)
    places = ["--data_dir", guarded.places["data_dir"], "--output_dir", str(tmp_path / "runs")]

    def command(mode: str, *given: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", f"entry_points.{mode}", *places[: 2 if mode != "train_only" else 4]]
        return subprocess.run(
            [*line, *given], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )

    done = command("train_only", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert f"at {guarded.uri.replace('://', '://***@')}" in done.stderr
    missing = command("eval_only", "--run_id", "0" * 32)
    assert missing.returncode == 2
    # This server denies what is not there, so as not to tell what is.
    assert "permission denied" in missing.stderr
    assert "could not look the run up" in missing.stderr
    assert all(secret not in text for process in (done, missing) for text in (process.stdout, process.stderr))
    kept = [path for path in (*guarded.folder.rglob("*"), *tmp_path.rglob("*")) if path.is_file()]
    assert [path for path in kept if secret.encode() in path.read_bytes()] == []


def test_the_commands_in_the_docs_make_users_who_may_what_they_say(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = "API=" + documented("```bash\nAPI=", "```")
    for old, new in (
        ("127.0.0.1:5000", guarded.uri.removeprefix("http://")),
        ("trainer", "ann"),
        ("reader", "bo"),
    ):
        assert old in block
        block = block.replace(old, new)
    environment = {**os.environ, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORDS["admin"]}
    done = subprocess.run(
        ["bash", "-euc", block], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert guarded.experiment == "1"
    for user, may in (("ann", True), ("bo", False)):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", f"a password of {user}")
        client = mlflow.MlflowClient(guarded.uri)
        if may:
            client.create_run("1")
            client.set_registered_model_alias(NAME, "other", "1")
            continue
        with pytest.raises(MlflowException, match="Permission denied"):
            client.create_run("1")
        with pytest.raises(MlflowException, match="Permission denied"):
            client.set_registered_model_alias(NAME, "other", "1")
