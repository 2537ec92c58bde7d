"""Tests that a refusal of the tracking server ends with the reason and the remedy that belong to it."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ppi_train.errors import CheckpointError, TrackingError
from ppi_train.modes import execute_pipeline
from ppi_train.tracking.logged_model import TAG as MODEL_DIGEST
from ppi_train.tracking.logged_model import verified_model
from ppi_train.tracking.run import TrackedRun, Tracking
from ppi_train.tracking.runs import find_run
from tests.support.faults import free_port, running_server


def use(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)


def refusal(folder: Path) -> TrackingError:
    """What a run says that cannot start."""
    with pytest.raises(TrackingError) as caught:
        TrackedRun("embed", tracking=Tracking(folder=folder), system_metrics=False).__enter__()
    assert "start the server" not in str(caught.value)
    assert "permission" not in str(caught.value)
    return caught.value


def test_a_deleted_experiment(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = store.create_experiment("gone")
    store.delete_experiment(experiment)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    error = refusal(tmp_path)
    assert error.what == "could not start a run: the experiment was deleted"
    assert f"mlflow experiments restore --experiment-id {experiment};" in str(error)


@pytest.mark.parametrize("experiment", ["987654", "no number"])
def test_an_unknown_experiment(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: str
) -> None:
    del store
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    error = refusal(tmp_path)
    assert error.what == "could not start a run: the tracking server has no such experiment"
    assert "set MLFLOW_EXPERIMENT_ID to the ID of one that it has" in str(error)


@pytest.mark.parametrize("uri", ["{folder}/mlruns", "127.0.0.1:5000"])
def test_a_folder_as_the_store(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use(uri.format(folder=tmp_path), monkeypatch)
    error = refusal(tmp_path)
    assert "the tracking URI is a folder" in error.what
    assert "http://HOST:PORT, or to sqlite:///mlflow.db" in str(error)
    assert "mlflow migrate-filestore --source FOLDER --target sqlite:///mlflow.db" in str(error)


ANSWERS = {
    "Invalid Host header - possible DNS rebinding attack detected": (
        403, "does not answer to this host name", "mlflow server --allowed-hosts NAME"
    ),
    "<html>It works</html>": (200, "not that of an MLflow tracking server", "or https://HOST"),
}  # fmt: skip


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that has one answer to everything; gives its URI."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(ANSWERS[request.param][0])
            self.end_headers()
            self.wfile.write(request.param.encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


@pytest.mark.parametrize("answering", ANSWERS, indirect=True)
def test_what_a_server_answers(
    answering: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(answering, monkeypatch)
    _, what, remedy = ANSWERS[request.node.callspec.params["answering"]]
    error = refusal(tmp_path)
    assert what in error.what
    assert remedy in str(error)


@pytest.mark.slow
def test_a_real_server_that_does_not_know_the_host_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "lab.example")
    with running_server(tmp_path, free_port()) as uri:
        use(uri, monkeypatch)
        assert "does not answer to this host name" in refusal(tmp_path / "runs").what


@pytest.mark.parametrize(
    "uri", ["ftp://lab.example/mlflow", "https://{server}", "sqlite:///{folder}/text.db"]
)
def test_a_uri_of_something_else(
    server: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.db").write_text("no database" * 1000)
    use(uri.format(server=server.removeprefix("http://"), folder=tmp_path), monkeypatch)
    assert "the tracking URI is not that of an MLflow tracking server" in refusal(tmp_path / "runs").what


def test_an_unknown_run(store: mlflow.MlflowClient) -> None:
    del store
    with pytest.raises(TrackingError, match="there is no such run") as caught:
        find_run("0" * 32)
    assert "to do: copy the run ID from the MLflow UI" in str(caught.value)


def test_a_store_of_artifacts_that_was_moved(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))
    places: dict[str, Any] = {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}
    run_id = execute_pipeline("train_only", places | {"epochs": 1}).run_id
    shutil.move(tmp_path / "artifacts", tmp_path / "moved")
    with pytest.raises(CheckpointError, match="not where the tracking server looks for them") as caught:
        execute_pipeline("eval_only", places | {"run_id": run_id})
    assert "if the store of artifacts was moved, move it back" in str(caught.value)
    (model,) = store.search_logged_models(["1"])
    assert MODEL_DIGEST in model.tags
    with pytest.raises(CheckpointError, match="not where the tracking server looks for them"):
        verified_model(model.model_id)
    shutil.move(tmp_path / "moved", tmp_path / "artifacts")
    url = f" http://127.0.0.1:5000/#/experiments/1/runs/{run_id}/model-metrics"
    assert execute_pipeline("eval_only", places | {"run_id": url}).metrics
