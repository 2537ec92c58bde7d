"""Tests that start what the files in deploy/ start, with processes of this machine as nodes and pods."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import mlflow
import pytest
import yaml
from distributed import Client, get_client
from distributed.comm import CommClosedError, connect
from distributed.security import Security

from tests.support import ROOT
from tests.support.slurm_stand_in import JOB, Slurm
from tests.support.stores import make_store

KUBERNETES = ROOT / "deploy/kubernetes"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of all processes, with a tracking store."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": make_store(tmp_path / "mlflow.db"),
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def statuses(environment: dict[str, str]) -> dict[str, str]:
    """The status of each run, by its name."""
    runs = mlflow.MlflowClient(environment["MLFLOW_TRACKING_URI"]).search_runs(["0"])
    return {str(run.info.run_name): str(run.info.status) for run in runs}


def container(manifest: str, *path: str) -> dict[str, Any]:
    """The container of the pods of a job, or of a part of the Dask cluster."""
    *_, found = yaml.safe_load_all((KUBERNETES / manifest).read_text())
    for name in ("spec", *path, "spec"):
        found = found[name]
    (only,) = found["containers"]
    return dict(only)


@pytest.mark.slow
def test_a_training_on_two_nodes_of_slurm_continues_after_the_time_limit(
    tmp_path: Path, data_dir: Path, environment: dict[str, str]
) -> None:
    slurm = Slurm(tmp_path / "job")
    words = {
        "epochs": "60",
        "early_stopping_patience": "0",
        "checkpoint_every": "5 steps",
        "data_dir": data_dir,
    }
    job = slurm.submit(
        ROOT / "deploy/slurm/train.sbatch",
        "train_only",
        *(word for name, value in words.items() for word in (f"--{name}", str(value))),
        **environment,
    )
    checkpoints = slurm.folder / f"runs/slurm-{JOB}"
    while not list(checkpoints.glob("*/checkpoints/last")):
        assert job.poll() is None, job.communicate()
        time.sleep(0.1)
    slurm.near_time_limit()
    printed, _ = job.communicate(timeout=300)
    assert job.returncode == 0, printed
    assert len(re.findall("training on 2 processes", printed)) == 2
    assert len(re.findall("continuing at step", printed)) == 1
    assert len(re.findall("epoch 60/60", printed)) == 1
    assert set(statuses(environment).values()) == {"FINISHED"}
    assert len(list(checkpoints.iterdir())) == 1


@pytest.mark.slow
def test_the_pods_of_a_training_train_together(
    tmp_path: Path, data_dir: Path, environment: dict[str, str]
) -> None:
    pod = container("train.yaml", "template")
    changed = {
        "--nproc-per-node=4": "--nproc-per-node=1",
        "--master-addr=ppi-train-nodes-0.ppi-train-nodes": "--master-addr=127.0.0.1",
        "--master-port=29500": f"--master-port={free_port()}",
        "--dataset=bernett": "--dataset=example",
        "--data_dir=/work/data": f"--data_dir={data_dir}",
        "--output_dir=/work/runs": f"--output_dir={tmp_path}/runs",
    }
    words = [*pod["command"], *pod["args"], "--epochs=1"]
    assert changed.keys() <= set(words)
    nodes = [
        subprocess.Popen(
            [changed.get(word, word).replace("$(NODE_RANK)", rank) for word in words],
            cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    printed = [node.communicate(timeout=300)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert "training on 2 processes" in printed[0]
    assert list(statuses(environment).values()) == ["FINISHED"]


@contextmanager
def started(words: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def name_of_worker() -> str:
    return str(get_client().scheduler_info()["workers"].popitem()[1]["name"])


@pytest.mark.slow
def test_the_pods_of_the_dask_cluster_take_only_those_with_its_certificate(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    page = (ROOT / "docs/how-to/scaling.md").read_text()
    (command,) = re.findall(r"^openssl .*$", page, re.MULTILINE)
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    address = f"tls://127.0.0.1:{free_port()}"
    changed = {
        "/etc/dask-tls": str(tmp_path), "--port=8786": f"--port={address.rpartition(':')[2]}",
        ":8787": "127.0.0.1:0", "tls://ppi-train-scheduler:8786": address, "$(DASK_WORKER_NAME)": "pod-1",
        "--local-directory=/tmp": f"--local-directory={tmp_path}/worker",
    }  # fmt: skip

    def here(word: str) -> str:
        for old, new in changed.items():
            word = word.replace(old, new)
        return word

    scheduler, worker = (container("dask.yaml", role) for role in ("scheduler", "worker"))
    variables = {
        variable["name"]: here(variable["value"]) for variable in container("scan.yaml", "template")["env"]
    }
    with dask.config.set(dask.config.merge(dask.config.config, dask.config.collect_env(variables))):
        own = Security()
    for part in (scheduler, worker):
        part["words"] = [here(word) for word in (*part["command"], *part["args"])]
    scheduler["words"].append("--host=127.0.0.1")
    with started(scheduler["words"], environment), started(worker["words"], environment):
        with Client(address, security=own, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            assert client.submit(name_of_worker).result(timeout=60) == "pod-1"
        with pytest.raises(OSError, match="TLS certificate does not match"):
            asyncio.run(ask(address, Security.temporary()))
        with pytest.raises(CommClosedError):
            asyncio.run(ask(address, Security()))
        assert "pod-1" in str(asyncio.run(ask(address, own)))


async def ask(address: str, security: Security) -> object:
    """Asks the scheduler who it is; without a certificate, by an open connection."""
    arguments = security.get_connection_args("client")
    if arguments["ssl_context"] is None:
        address = address.replace("tls", "tcp")
    connection = await connect(address, timeout=3, **arguments)
    await connection.write({"op": "identity", "reply": True})
    return await connection.read()
