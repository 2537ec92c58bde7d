"""Tests of a tracking server that tries to write outside allowed folders.

It must end in our error, with nothing written.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ppi_train.checkpoints import DESCRIPTION, MARKER, WEIGHTS
from ppi_train.errors import TrackingError, UserError
from ppi_train.modes import execute_pipeline
from ppi_train.runs.checkpoints import resolve_checkpoint
from ppi_train.runs.training_pairs import logged_pairs
from ppi_train.tracking.registry.versions import resolve_model_uri
from ppi_train.tracking.run_folder import run_folder, was_here
from ppi_train.tracking.runs import find_run

RUN = "0" * 32
_API, _ARTIFACTS = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
_CHECKPOINTS = {"folder": "checkpoints", "step": 1, "digests": {"best": "0" * 64}}


@dataclass
class Hostile:
    """What the server answers; `listings` maps the end of a path to the names below it, folders with `/`."""

    uri: str = ""
    run_id: str = RUN
    artifact_uri: str = f"mlflow-artifacts:/1/{RUN}/artifacts"
    mode: str = "train_only"
    parameters: dict[str, str] = field(default_factory=dict)
    listings: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        tags = {"ppi.mode": self.mode, "ppi.checkpoints": json.dumps(_CHECKPOINTS)}
        info = {"run_id": self.run_id, "run_uuid": self.run_id, "experiment_id": "1", "status": "FINISHED",
                "lifecycle_stage": "active", "artifact_uri": self.artifact_uri, "start_time": 1}  # fmt: skip
        pairs = [{"key": key, "value": value} for key, value in tags.items()]
        params = [{"key": key, "value": value} for key, value in self.parameters.items()]
        return {"run": {"info": info, "data": {"tags": pairs, "params": params, "metrics": []}}}

    def listing(self, path: str) -> dict[str, Any]:
        names = next((names for end, names in self.listings.items() if path.endswith(end)), [])
        files = [{"path": name.rstrip("/"), "is_dir": name.endswith("/"), "file_size": 4} for name in names]
        return {"files": files}


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hostile]:
    answers = Hostile()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            answers.asked.append(self.path)
            if parts.path == f"{_API}/runs/get":
                self._answer(json.dumps(answers.run()).encode())
            elif parts.path == _ARTIFACTS:
                self._answer(json.dumps(answers.listing(parse_qs(parts.query)["path"][0])).encode())
            elif parts.path.startswith(_ARTIFACTS):
                self._answer(b"evil")
            else:
                self._answer(b"{}", status=404)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answers.asked.append(self.path)
            self._answer(b"{}")

        def _answer(self, content: bytes, status: int = 200) -> None:
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
        answers.uri = f"http://127.0.0.1:{served.server_address[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", answers.uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
        monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "a" / "b" / "cache"))
        monkeypatch.chdir(_made(tmp_path / "a" / "here"))
        yield answers
        served.shutdown()
        thread.join()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _written(tmp_path: Path) -> list[str]:
    """Files below the test's folder but the empty locks of the cache."""
    files = (path for path in tmp_path.rglob("*") if path.is_file())
    return [str(path.relative_to(tmp_path)) for path in files if path.suffix != ".lock"]


BAD_NAMES = [
    "../../evil", "../../../../../evil", "/evil", "..", "../weights.safetensors", "..%2f..%2fevil",
    "%2e%2e/evil", "%252e%252e%252fevil", "..\\..\\evil", "C:\\evil", "file:///evil", "a/../../../evil",
    "weights.safetensors/../../../evil", "evil\0", "evil\n", "#evil", "?evil", "~/evil", "/etc/passwd", "",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_listing_of_names_that_lead_out(hostile: Hostile, tmp_path: Path, name: str) -> None:
    hostile.listings = {"checkpoints/best": [MARKER, WEIGHTS, DESCRIPTION, name]}
    with pytest.raises(UserError):
        resolve_checkpoint(RUN)
    assert _written(tmp_path) == []
    assert not Path("/evil").exists()


@pytest.mark.parametrize("name", BAD_NAMES[:16])
def test_a_file_of_the_checkpoint_that_turns_out_a_folder(
    hostile: Hostile, tmp_path: Path, name: str
) -> None:
    hostile.listings = {WEIGHTS: [name], "checkpoints/best": [MARKER, WEIGHTS, DESCRIPTION]}
    with pytest.raises(UserError):
        resolve_checkpoint(RUN)
    assert any(_ARTIFACTS in request for request in hostile.asked), "it was not even tried"
    assert _written(tmp_path) == []
    assert not Path("/evil").exists()


@pytest.mark.parametrize("name", ["../../../evil", "/evil", "..%2f..%2fevil"])
def test_the_training_pairs_as_a_folder_that_leads_out(hostile: Hostile, tmp_path: Path, name: str) -> None:
    hostile.listings = {"pairs/train.parquet": [name]}
    with pytest.raises(UserError):
        logged_pairs(find_run(RUN), "train")
    assert _written(tmp_path) == []


BAD_PLACES = [
    "file:///etc", "/etc", "../../..", "mlflow-artifacts:/../../..", "ftp://127.0.0.1:9/x", "no-such:/x",
    "http://127.0.0.1:9/x", "runs:/x/y", "models:/x/1", "mlflow-artifacts://elsewhere:9/x", "", "\0",
    "data:,x",
]  # fmt: skip


@pytest.mark.parametrize("place", BAD_PLACES)
def test_artifacts_that_are_said_to_lie_elsewhere(hostile: Hostile, tmp_path: Path, place: str) -> None:
    hostile.artifact_uri = place
    with pytest.raises(UserError):
        resolve_checkpoint(RUN)
    assert _written(tmp_path) == []


BAD_IDS = ["../../x", "/tmp/x", "..", ".", "", "a/b", "a\\b", "a\0b", "~", "x" * 200, "-x", "é"]


@pytest.mark.parametrize("run_id", BAD_IDS)
def test_the_id_of_a_run_is_no_path(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(TrackingError, match="invalid run ID"), run_folder(str(tmp_path / "runs"), run_id):
        raise AssertionError("it was made")
    with pytest.raises(TrackingError, match="invalid run ID"):
        was_here(str(tmp_path / "runs"), run_id)
    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_run_that_calls_itself_a_path(hostile: Hostile, tmp_path: Path) -> None:
    hostile.run_id, hostile.parameters = "../../../evil", {"training.epochs": "1"}
    with pytest.raises(UserError):
        execute_pipeline("resume", {"run_id": RUN})
    assert _written(tmp_path) == []


BAD_URIS = [
    "models:/..@x", "models:/m-..", "models:/m-../../runs/get", "models:/m-x?y=1", "models:/m-x#y",
    "models:/m-%2e%2e",
    "models:/../../etc/passwd", "models:/a'b@x", "models:/a`b@x", 'models:/a"b/1', "models:/a\nb@x",
    "models:/a b@x", "models:/é@x", "models:/a@x;y", "runs:/x/y", "file:///etc/passwd", "/etc/passwd",
    "s3://bucket/x", "models:/a/../b", "models://server/a@x", "models:/a@" + "x" * 300, "models:/\0@x",
]  # fmt: skip


@pytest.mark.parametrize("uri", BAD_URIS)
def test_uris_of_models_with_odd_characters(hostile: Hostile, uri: str) -> None:
    with pytest.raises(UserError):
        resolve_model_uri(uri)
    assert not any(".." in urlsplit(request).path.split("/") for request in hostile.asked)
