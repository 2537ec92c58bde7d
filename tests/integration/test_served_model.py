"""Tests of the registered model: same scores as `eval_only`, no unpickling."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.exceptions import MlflowException

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.parallel.options import ParallelOptions
from ppi_train.parallel.pool import worker_pool
from ppi_train.parallel.worker import build
from tests.support import ROOT

NAME = "served"


@pytest.fixture(scope="module")
def champion(client: mlflow.MlflowClient, places: dict[str, Any]) -> PipelineResult:
    """A run whose model is models:/served@champion, trained on float16, which rounds, of both ends."""
    del client
    settings = {"epochs": 1, "embedding_dtype": "float16", "max_length": 150, "truncation": "head_tail"}
    trained = execute_pipeline("train_only", places | settings)
    execute_pipeline("promote", places | {"run_id": trained.run_id, "registered_model": NAME})
    return trained


@pytest.fixture(scope="module")
def scored(places: dict[str, Any], champion: PipelineResult) -> pd.DataFrame:
    """What `eval_only` wrote of the test pairs."""
    result = execute_pipeline("eval_only", places | {"run_id": champion.run_id, "bootstrap_resamples": 0})
    return pd.read_parquet(Path(result.outputs["predictions"]) / "predictions/test.parquet")


def sequences_of(table: pd.DataFrame, example: Dataset) -> pd.DataFrame:
    sequences = read_fasta(example.splits["test"].fasta).sequences
    columns = {
        f"sequence_{side}": [sequences[protein] for protein in table[f"protein_{side}"]] for side in "ab"
    }
    return pd.DataFrame(columns)


def model_id(client: mlflow.MlflowClient, result: PipelineResult) -> str:
    experiment = client.get_run(result.run_id).info.experiment_id
    (model,) = client.search_logged_models([experiment], filter_string=f"source_run_id = '{result.run_id}'")
    return str(model.model_id)


@pytest.mark.usefixtures("champion")
def test_sequences_score_as_eval_only_scored_them(scored: pd.DataFrame, example: Dataset) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    served = model.predict(sequences_of(scored, example))
    assert list(served.columns) == ["probability", "logit", "uncertainty"]
    np.testing.assert_allclose(served["probability"], scored["probability"], atol=1e-6, rtol=0)
    turned = sequences_of(scored, example).rename(
        columns={"sequence_a": "sequence_b", "sequence_b": "sequence_a"}
    )
    one_by_one = pd.concat([model.predict(turned[row : row + 1].map(str.lower)) for row in range(5)])
    np.testing.assert_allclose(one_by_one["probability"], scored["probability"][:5], atol=1e-6, rtol=0)


def cache_of(example: Dataset, path: Path, *, embedder: str, dimension: int = 5) -> str:
    sequences = read_fasta(example.splits["test"].fasta)
    spec = CacheSpec(
        embedder={"name": embedder, "parameters": {}, "digest": "1"}, dimension=dimension,
        granularity="protein", dtype="float32", max_length=None, truncation="head",
        fasta_digest=sequences.digest,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    with CacheWriter(path, spec) as writer:
        for name, sequence in sequences.sequences.items():
            writer.add(name, sequence_digest(sequence), len(sequence), rng.normal(size=dimension))
    return str(path)


def test_a_model_on_a_labs_own_embeddings_takes_ids_and_their_cache(
    client: mlflow.MlflowClient, places: dict[str, Any], example: Dataset, tmp_path: Path
) -> None:
    cache = cache_of(example, tmp_path / "mine.parquet", embedder="mine")
    trained = execute_pipeline("train_only", places | {"embeddings": cache, "epochs": 1})
    given = {"run_id": trained.run_id, "embeddings": cache, "bootstrap_resamples": 0}
    result = execute_pipeline("eval_only", places | given)
    scored = pd.read_parquet(Path(result.outputs["predictions"]) / "predictions/test.parquet")
    uri = f"models:/{model_id(client, trained)}"
    model = mlflow.pyfunc.load_model(uri, model_config={"embedding_cache": cache})
    served = model.predict(scored[["protein_a", "protein_b"]])
    np.testing.assert_allclose(served["probability"], scored["probability"], atol=1e-6, rtol=0)
    assert model.input_example is not None
    with pytest.raises(MlflowException, match=r"no embedding for 1 protein\n  got: GHOST"):
        model.predict(pd.DataFrame({"protein_a": ["GHOST"], "protein_b": [scored["protein_b"][0]]}))
    other_names = scored[["protein_a", "protein_b"]].head(1) + ".2"
    with pytest.raises(MlflowException, match="send the IDs without the version, 2 of the 2 names fit"):
        model.predict(other_names)
    with pytest.raises(MlflowException, match="embeddings that this project cannot make"):
        model.predict(pd.DataFrame({"sequence_a": ["MKV"], "sequence_b": ["MKV"]}))
    with pytest.raises(MlflowException, match="protein IDs need an embedding cache"):
        mlflow.pyfunc.load_model(uri).predict(scored[["protein_a", "protein_b"]])
    other = cache_of(example, tmp_path / "other.parquet", embedder="other")
    with pytest.raises(Exception, match="another embedder than asked for"):
        mlflow.pyfunc.load_model(uri, model_config={"embedding_cache": other})


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sequence_a": ["MKV"]}, "these columns do not make pairs"),
        (
            {"sequence_a": ["M"], "sequence_b": ["M"], "protein_a": ["x"], "protein_b": ["y"]},
            "do not make pairs",
        ),
        ({"sequence_a": ["MKV"], "sequence_b": [""]}, "this is not a protein sequence"),
        ({"sequence_a": ["MKV"], "sequence_b": ["**"]}, "this is not a protein sequence"),
        ({"sequence_a": ["MK1V"], "sequence_b": ["MKV"]}, "'MK1V', with '1'"),
        ({"sequence_a": [None], "sequence_b": ["MKV"]}, "this is not a protein sequence"),
    ],
)
def test_what_cannot_be_scored_is_told(table: dict[str, list[str]], message: str) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    with pytest.raises(MlflowException, match=message) as caught:
        model.predict(pd.DataFrame(table))
    assert caught.value.get_http_status_code() == 400


@pytest.mark.usefixtures("champion")
def test_an_empty_table_gives_an_empty_one() -> None:
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    empty = model.predict(pd.DataFrame({"sequence_a": [], "sequence_b": []}, dtype=str))
    assert list(empty.columns) == ["probability", "logit", "uncertainty"]
    assert empty.empty


LOAD_WITHOUT_PICKLE = """
import pickle, sys
import cloudpickle, mlflow, pandas as pd, torch

def refuse(*args, **named):
    raise AssertionError("something was unpickled")

def refuse_what_a_pickle_names(event, arguments):
    if event == "pickle.find_class":
        refuse()

sys.addaudithook(refuse_what_a_pickle_names)  # whatever module holds the unpickler by a name of its own
for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (cloudpickle, "load"),
                     (cloudpickle, "loads"), (torch, "load")):
    setattr(module, name, refuse)
model = mlflow.pyfunc.load_model(sys.argv[1])
print(model.predict(pd.DataFrame({"sequence_a": ["MKV"], "sequence_b": ["MKL"]})).to_json())
"""


def test_nothing_is_unpickled(client: mlflow.MlflowClient, champion: PipelineResult, tmp_path: Path) -> None:
    uri = f"models:/{NAME}@champion"
    done = subprocess.run(
        [sys.executable, "-c", LOAD_WITHOUT_PICKLE, uri],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["probability"]["0"] < 1
    folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert ".safetensors" in kinds
    assert not kinds & {".pkl", ".pickle", ".pt", ".pth", ".bin"}
    assert client.get_run(champion.run_id).info.status == "FINISHED"


@pytest.mark.usefixtures("champion")
def test_workers_of_a_process_that_loaded_a_model_run_the_code_of_the_process() -> None:
    before = list(sys.path)
    mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert sys.path == before
    with worker_pool(ParallelOptions(workers=1)) as pool:
        assert set(pool.everywhere(build).values()) == {build()}


@pytest.mark.usefixtures("champion")
def test_the_model_tells_what_it_takes_and_gives() -> None:
    uri = f"models:/{NAME}@champion"
    signature = mlflow.models.get_model_info(uri).signature
    names = {"sequence_a", "sequence_b", "protein_a", "protein_b"}
    assert {(column.name, column.type.name, column.required) for column in signature.inputs.inputs} == {
        (name, "string", False) for name in names
    }
    assert [(column.name, column.type.name) for column in signature.outputs.inputs] == [
        ("probability", "double"),
        ("logit", "double"),
        ("uncertainty", "double"),
    ]
    model = mlflow.pyfunc.load_model(uri)
    assert list(model.input_example.columns) == ["sequence_a", "sequence_b"]
    assert len(model.predict(model.input_example)) == len(model.input_example)


@pytest.fixture(scope="module")
def served_at(
    champion: PipelineResult, another_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """`mlflow models serve` of the champion, on loopback."""
    del champion
    port = another_port
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@champion"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--env-manager", "local", "--workers", "1"]
    log = tmp_path_factory.mktemp("serve") / "log"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env={**os.environ, "PATH": path}, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(240):
            assert process.poll() is None, log.read_text()
            try:
                if requests.get(f"http://127.0.0.1:{port}/ping", timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def test_a_server_answers_sequences_and_tells_mistakes_with_400(
    served_at: str, scored: pd.DataFrame, example: Dataset
) -> None:
    table = sequences_of(scored[:20], example)
    answer = requests.post(served_at, json={"dataframe_split": table.to_dict(orient="split")}, timeout=30)
    assert answer.status_code == 200, answer.text
    probabilities = [row["probability"] for row in answer.json()["predictions"]]
    np.testing.assert_allclose(probabilities, scored["probability"][:20], atol=1e-6, rtol=0)
    wrong = {"dataframe_records": [{"sequence_a": "MK1V", "sequence_b": "MKV"}]}
    refused = requests.post(served_at, json=wrong, timeout=30)
    assert refused.status_code == 400
    assert "this is not a protein sequence" in refused.json()["message"]
    assert "Traceback" not in refused.json()["message"]


def test_the_call_in_the_docs_is_answered(served_at: str) -> None:
    page = (ROOT / "docs/how-to/serving.md").read_text()
    body = re.search(r"curl \S+/invocations -H '(.+?): (.+?)' -d '(.+?)'\n", page, re.DOTALL)
    assert body is not None
    answer = requests.post(served_at, data=body[3], headers={body[1]: body[2]}, timeout=30)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["predictions"]
    assert set(row) == {"probability", "logit", "uncertainty"}
    assert row["uncertainty"] > 0
    assert row["probability"] == pytest.approx(1 / (1 + math.exp(-row["logit"])))
