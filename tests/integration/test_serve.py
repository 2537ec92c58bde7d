"""Tests of `serve`: the scoring interface as it is, and the page, from a real process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlflow
import pandas as pd
import pytest
import requests
from fastapi import FastAPI
from fastapi.testclient import TestClient

import ppi_train
from ppi_train.modes import execute_pipeline
from ppi_train.modes.serve import page, routes
from ppi_train.modes.serve.routes import RateLimit
from tests.support import ROOT

pytestmark = pytest.mark.slow  # evaluations or a server for most of them: a minute in all

INSULIN_A, INSULIN_B = "GIVEQCCTSICSLYQLENYCN", "FVNQHLCGSHLVEALYLVCGERGFFYTPKT"
UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"


@dataclass(frozen=True)
class Served:
    """A process that serves, and its address."""

    process: subprocess.Popen[str]
    url: str
    run_id: str

    def score(self, **fields: Any) -> requests.Response:
        return requests.post(f"{self.url}/page/score", json=fields, timeout=60)

    def refusal(self, status: int, **fields: Any) -> str:
        answer = self.score(**fields)
        assert answer.status_code == status, answer.text
        assert "Traceback" not in answer.text
        return str(answer.json()["error"])


def started(folder: Path, *words: str) -> Served:
    """A server, once it has said its address."""
    command = [sys.executable, "-m", "ppi_train", "serve", "--port", "0", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "scoring interface" in line:
            break
    address, run = re.search(r"the page: (http://[^ ]+)/", said), re.search(r"I run (\w{32})", said)
    assert address, said
    assert run, said
    return Served(process, address[1], run[1])


def stopped(served: Served, number: signal.Signals) -> int:
    served.process.send_signal(number)
    served.process.communicate(timeout=60)
    return served.process.returncode


@pytest.fixture(scope="module")
def served(client: mlflow.MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the released model."""
    del client
    server = started(tmp_path_factory.mktemp("served"))
    yield server
    stopped(server, signal.SIGTERM)


def test_a_pair_has_the_scores_of_the_model_and_weights_of_its_residues(served: Served) -> None:
    answer = served.score(a=INSULIN_A, b=f">B\n{INSULIN_B}").json()
    (pair,) = answer["pairs"]
    table = pd.DataFrame({"sequence_a": [INSULIN_A], "sequence_b": [INSULIN_B]})
    expected = ppi_train.load_model().predict(table).iloc[0]
    for name in ("probability", "logit", "uncertainty"):
        assert pair[name] == pytest.approx(expected[name], abs=1e-6)
    assert (pair["protein_a"], pair["protein_b"]) == ("protein_a", "B")
    assert pair["low"] < pair["probability"] < pair["high"]
    assert [len(protein["weights"]) for protein in answer["residues"]] == [len(INSULIN_A), len(INSULIN_B)]
    assert min(min(protein["weights"]) for protein in answer["residues"]) >= 0
    other = served.score(a=INSULIN_B, b=INSULIN_A).json()["pairs"][0]
    assert other["logit"] == pytest.approx(pair["logit"], abs=1e-6)


def test_a_fasta_alone_is_paired_with_itself_and_two_fields_with_each_other(served: Served) -> None:
    fasta = f">A\n{INSULIN_A}\n>B\n{INSULIN_B}\n>U\n{UBIQUITIN}\n"
    pairs = served.score(a=fasta).json()["pairs"]
    assert {(pair["protein_a"], pair["protein_b"]) for pair in pairs} == {("A", "B"), ("A", "U"), ("B", "U")}
    assert [pair["logit"] for pair in pairs] == sorted((pair["logit"] for pair in pairs), reverse=True)
    crossed = served.score(a=f">A\n{INSULIN_A}", b=fasta).json()
    assert [pair["protein_a"] for pair in crossed["pairs"]] == ["A", "A", "A"]
    assert crossed["residues"] is None


def test_the_scoring_interface_is_mlflows(served: Served) -> None:
    body = {"dataframe_records": [{"sequence_a": INSULIN_A, "sequence_b": INSULIN_B}]}
    (row,) = requests.post(f"{served.url}/invocations", json=body, timeout=60).json()["predictions"]
    (pair,) = served.score(a=INSULIN_A, b=INSULIN_B).json()["pairs"]
    assert row["logit"] == pytest.approx(pair["logit"], abs=1e-6)
    assert [requests.get(f"{served.url}/{path}", timeout=9).status_code for path in ("ping", "health")] == [
        200
    ] * 2
    assert requests.get(f"{served.url}/version", timeout=9).text == mlflow.__version__


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"a": "", "b": "  \n"}, "both fields are empty"),
        ({}, "both fields are empty"),
        ({"a": INSULIN_A}, "one protein, and no other"),
        ({"a": "<html><body>x</body></html>", "b": INSULIN_A}, "'<html><body>x</body></html>', with '/'"),
        ({"a": INSULIN_A, "b": f">x\nMK\nM<V\n>y\n{INSULIN_B}"}, "field B, line 3, column 2"),
        ({"a": "MK\ud800V", "b": INSULIN_A}, "not a protein sequence"),
        ({"a": f"{INSULIN_A}\r\n \r\n{INSULIN_B}", "b": INSULIN_A}, "blank line"),
        ({"a": f">dna\n{'ACGT' * 40}\n>p\n{UBIQUITIN}"}, "field A, dna"),
        ({"a": "ACGT" * 40, "b": INSULIN_A}, "DNA or RNA"),
        ({"a": ["x"], "b": INSULIN_A}, "not text"),
        ({"a": f">A\n{INSULIN_A}", "b": f">A\n{INSULIN_B}"}, "another one in field B"),
    ],
)
def test_what_the_page_cannot_score_is_refused_by_name(
    served: Served, fields: dict[str, Any], expected: str
) -> None:
    message = served.refusal(400, **fields)
    assert expected in message
    assert "/tmp" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("M" * (page.MOST_RESIDUES + 1), "at most 10,000"),
        ("".join(f">p{n}\nMK{'L' * n}\n" for n in range(1, 120)), "at most 5,000"),
        ("".join(f">p{n}\nMK{'L' * n}\n" for n in range(1, 310)), "at most 300"),
        ("".join(f">p{n}\nMK{'L' * (n + 5000)}\n" for n in range(50)), "at most 200,000"),
    ],
)
def test_more_than_the_bounds_is_refused_with_the_bound(served: Served, text: str, expected: str) -> None:
    message = served.refusal(413, a=text)
    assert expected in message
    assert "score more with `predict`" in message


def test_a_name_with_half_a_character_is_written_out(served: Served) -> None:
    (pair,) = served.score(a=f">x\ud800\n{INSULIN_A}", b=INSULIN_B).json()["pairs"]
    assert pair["protein_a"] == "x\\ud800"


@pytest.mark.parametrize(("host", "status"), [("evil.example", 400), ("localhost", 200), ("127.0.0.1", 200)])
def test_a_page_under_another_name_of_this_machine_is_refused(served: Served, host: str, status: int) -> None:
    port = served.url.rpartition(":")[2]
    for path in ("", "ping"):
        answer = requests.get(f"{served.url}/{path}", headers={"Host": f"{host}:{port}"}, timeout=9)
        assert answer.status_code == status


def test_while_as_many_as_may_are_scored_another_one_is_refused() -> None:
    release = threading.Event()

    class Slow:
        def score(self, texts: Mapping[str, object]) -> dict[str, object]:
            assert release.wait(60)
            return dict(texts)

    app = FastAPI()
    routes.add_page(app, cast(page.PageModel, Slow()), per_minute=1000)
    with TestClient(app) as client, ThreadPoolExecutor(routes._AT_ONCE) as pool:
        waiting = [pool.submit(client.post, "/page/score", json={}) for _ in range(routes._AT_ONCE)]
        try:
            for _ in range(500):
                refused = client.post("/page/score", content="x")  # refused at once where there is a place
                if refused.status_code == 429:
                    break
                time.sleep(0.02)
        finally:
            release.set()
        assert [answer.result().status_code for answer in waiting] == [200] * routes._AT_ONCE
    assert refused.status_code == 429
    assert "busy" in refused.json()["error"]


def test_ten_megabytes_other_kinds_of_content_and_broken_json_are_refused(served: Served) -> None:
    assert "at most 1,000,000 bytes" in served.refusal(413, a="M" * 10_000_000, b=INSULIN_A)
    url = f"{served.url}/page/score"
    form = requests.post(url, data={"a": INSULIN_A, "b": INSULIN_B}, timeout=60)
    broken = requests.post(url, data="[" * 90_000, headers={"Content-Type": "application/json"}, timeout=60)
    listed = requests.post(url, json=[1], timeout=60)
    assert [answer.status_code for answer in (form, broken, listed)] == [415, 400, 400]


def test_names_that_are_markup_stay_text(served: Served) -> None:
    name = "<img/src=x/onerror=alert(1)>"
    answer = served.score(a=f">{name}\n{INSULIN_A}", b=INSULIN_B)
    assert answer.json()["pairs"][0]["protein_a"] == name
    assert answer.headers["content-type"].startswith("application/json")
    shown = requests.get(f"{served.url}/", timeout=9)
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["content-security-policy"] == policy
    # The policy allows no script or style in the page, and the script makes no markup of text.
    assert not re.search(r"<script(?! src)|<style|\son\w+=|style=|https?:", shown.text)
    script = requests.get(f"{served.url}/page.js", timeout=9).text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_it_ends_as_a_finished_run_when_it_is_stopped(
    client: mlflow.MlflowClient, tmp_path: Path, number: signal.Signals
) -> None:
    server = started(tmp_path, "--requests_per_minute", "2")
    statuses = [server.score(a=INSULIN_A, b=INSULIN_B).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert stopped(server, number) == 0
    run = client.get_run(server.run_id)
    assert (run.info.status, run.data.metrics["serve/page_requests"]) == ("FINISHED", 2.0)
    assert run.data.tags["ppi.mode"] == "serve"


def test_a_port_that_is_taken_is_refused(served: Served, tmp_path: Path) -> None:
    port = served.url.rpartition(":")[2]
    command = [sys.executable, "-m", "ppi_train", "serve", "--port", port]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "the address cannot be listened on" in done.stderr
    assert "port=0" in done.stderr


def test_only_loopback_is_listened_on_unless_asked_for(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    others = {item[4][0] for item in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)}
    for address in others - {"127.0.0.1", "127.0.1.1"}:
        with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
            socket.create_connection((str(address), port), timeout=2).close()


@pytest.mark.slow
def test_a_model_without_residue_weights_scores_all_the_same(
    client: mlflow.MlflowClient, places: dict[str, Any], tmp_path: Path
) -> None:
    del client
    trained = execute_pipeline("train_only", places | {"epochs": 1})
    server = started(tmp_path, "--run_id", trained.run_id)
    try:
        answer = server.score(a=INSULIN_A, b=INSULIN_B).json()
        assert requests.get(f"{server.url}/page/about", timeout=9).json()["model"] == "pooled_mlp"
    finally:
        stopped(server, signal.SIGTERM)
    assert answer["residues"] is None
    assert 0 < answer["pairs"][0]["probability"] < 1


def test_the_rate_limit_fills_up_again() -> None:
    limit = RateLimit(6000)
    assert sum(limit.passes() for _ in range(20_000)) < 12_000
    time.sleep(0.05)
    assert limit.passes()
    assert routes._MOST_DROPPED > page.MOST_BYTES
