"""Tests of `mlflow run --backend kubernetes`, with MLflow's own code and a stand-in for the cluster."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import mlflow.projects
import mlflow.projects.docker
import mlflow.projects.kubernetes
import pytest
import yaml
from mlflow.projects._project_spec import load_project

from tests.support import ROOT
from tests.support.stores import make_store

PROJECT = ROOT / "deploy/kubernetes"
PARAMETERS = {
    "fasta": "my lab's proteins.fasta",
    "run_name": '$HOME `date` "quoted" \\ * ; & |',
    "output": "Ergebnisse für=a,b:c@d+e%f",
    "note": "two\nlines",
    "unset": "",
}
ENTRY_POINTS = list(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])
ECHO = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"


class Cluster(HTTPServer):
    """Takes a job as the server of a cluster does, and says that it is complete."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Cluster

    def do_POST(self) -> None:
        self.server.jobs.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(201)

    def do_GET(self) -> None:
        self._answer(200)

    def _answer(self, code: int) -> None:
        conditions = [{"type": "Complete", "status": "True"}]
        status = {"startTime": "2026-01-01T00:00:00Z", "conditions": conditions}
        body = json.dumps({**self.server.jobs[-1], "status": status}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps the output of the tests clean."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A server on loopback, that `kubectl`'s configuration names; and no Docker."""
    with Cluster() as cluster:
        threading.Thread(target=cluster.serve_forever, daemon=True).start()
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{cluster.server_port}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
        )
        image = SimpleNamespace(tags=["registry.example.org/ppi_train:latest"], id="sha256:0")
        monkeypatch.setattr(mlflow.projects.docker, "validate_docker_installation", lambda: None)
        monkeypatch.setattr(mlflow.projects.docker, "build_docker_image", lambda **_: image)
        monkeypatch.setattr(
            mlflow.projects.kubernetes, "push_image_to_registry", lambda _: "sha256:" + "0" * 64
        )
        yield cluster
        cluster.shutdown()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts `python` and `ppi-train` on PATH that print their words."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "ppi-train"):
        program = tmp_path / "bin" / name
        program.write_text(ECHO)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")


def printed(command: list[str]) -> list[str]:
    words: list[str] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return words


def in_container(command: list[str]) -> list[str]:
    """What `ppi-train` gets from the command of a container, in which the project lies elsewhere."""
    interpreter, script, *words = command
    assert (interpreter, script) == ("python", "/opt/ppi_train/deploy/kubernetes/unquote.py")
    return printed([sys.executable, str(PROJECT / "unquote.py"), *words])


def test_the_image_has_the_project_where_its_commands_look() -> None:
    assert "WORKDIR /opt/ppi_train\nCOPY . .\n" in (ROOT / "Dockerfile").read_text()
    assert not any("deploy" in line for line in (ROOT / ".dockerignore").read_text().splitlines())


def test_the_entry_points_are_those_of_the_project() -> None:
    project = yaml.safe_load((PROJECT / "MLproject").read_text())
    assert list(project["entry_points"]) == ENTRY_POINTS
    assert project["docker_env"] == {"image": "registry.example.org/ppi_train:latest"}
    config = json.loads((PROJECT / "kubernetes_config.json").read_text())
    assert (ROOT / config["kube-job-template-path"]).exists()
    assert project["docker_env"]["image"].rpartition(":")[0] == config["repository-uri"]


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_container_gets_what_the_local_command_gets(name: str) -> None:
    local = load_project(str(ROOT)).get_entry_point(name).compute_command(PARAMETERS, None)
    option, module, *words = printed(["bash", "-c", local])
    assert (option, module) == ("-m", f"entry_points.{name}")
    assert words == [word for pair in PARAMETERS.items() for word in (f"--{pair[0]}", pair[1])]
    quoted = load_project(str(PROJECT)).get_entry_point(name).compute_command(PARAMETERS, None)
    # As MLflow hands it over; without `unquote.py` the words would have quotation marks.
    command = mlflow.projects.kubernetes._get_run_command([quoted])
    assert shlex.quote(PARAMETERS["fasta"]) in command
    assert in_container(command) == [name, *words]


@pytest.mark.usefixtures("commands")
def test_mlflow_run_submits_a_job_that_a_cluster_takes(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("KUBE_MLFLOW_TRACKING_URI", "http://mlflow.example.org:5000")
    mlflow.set_tracking_uri(make_store(tmp_path / "mlflow.db"))
    submitted = mlflow.projects.run(
        "deploy/kubernetes",
        entry_point="train_only",
        parameters={"fasta": PARAMETERS["fasta"], "epochs": "2"},
        backend="kubernetes",
        backend_config="deploy/kubernetes/kubernetes_config.json",
    )
    (job,) = cluster.jobs
    kubernetes_validate.validate(job, "1.31", strict=True)
    assert job["metadata"]["name"].startswith("ppi-train-2")
    assert len(job["metadata"]["name"]) <= 63
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example.org/ppi_train:latest@sha256:")
    expected = ["train_only", "--fasta", PARAMETERS["fasta"], "--epochs", "2"]
    assert in_container(container["command"]) == expected
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow.example.org:5000"
    assert environment["MLFLOW_RUN_ID"] == submitted.run_id
    assert submitted.wait()
