"""Tests of a logged model to which foreign code was added.

Our code must not read or promote it, and must report it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ppi_train.errors import CheckpointError, DataError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.runs.training_pairs import logged_pairs
from ppi_train.tracking.logged_model import TAG, verified_model
from ppi_train.tracking.runs import find_run

NAME = "ppi"
EVIL = "from pathlib import Path\nPath({target!r}).write_text('this ran')\n"


@pytest.fixture
def places(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    del store
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))
    return {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}


def alter(client: mlflow.MlflowClient, model_id: str, target: Path, folder: Path) -> None:
    """What whoever can write to the artifact store can do: code of his own, which MLflow imports to serve."""
    place = client.get_logged_model(model_id).artifact_location
    repository = get_artifact_repository(place)
    described = yaml.safe_load(Path(repository.download_artifacts("MLmodel", str(folder))).read_text())
    described["flavors"]["python_function"] |= {"loader_module": "evil", "code": "code"}
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    (folder / "evil.py").write_text(EVIL.format(target=str(target)))
    repository.log_artifact(str(folder / "MLmodel"))
    repository.log_artifact(str(folder / "evil.py"), "code")


def test_only_the_checkpoint_is_read_and_the_altered_model_is_not_promoted(
    store: mlflow.MlflowClient, places: dict[str, Any], tmp_path: Path
) -> None:
    run: PipelineResult = execute_pipeline("train_only", places | {"epochs": 1})
    asked = {"run_id": run.run_id, "bootstrap_resamples": 100}
    assert execute_pipeline("promote", places | asked | {"registered_model": NAME}).exit_code == 0
    version = store.get_model_version_by_alias(NAME, "champion")
    model_id = str(version.source).removeprefix("models:/")
    assert version.tags[TAG] == store.get_logged_model(model_id).tags[TAG] == verified_model(model_id)
    target, folder = tmp_path / "target", tmp_path / "altered"
    folder.mkdir()
    alter(store, model_id, target, folder)
    by_uri = execute_pipeline(
        "eval_only", places | {"model_uri": f"models:/{NAME}@champion", "bootstrap_resamples": 0}
    )
    assert by_uri.metrics["test/auroc"] > 0
    with pytest.raises(CheckpointError, match="altered after it was logged") as caught:
        execute_pipeline("promote", places | asked | {"registered_model": "other"})
    assert f"where: models:/{model_id}" in str(caught.value)
    assert not store.search_registered_models("name = 'other'")
    assert not target.exists()
    # That it did not run proves something only if it does run where it is served.
    serve = f"import mlflow; mlflow.pyfunc.load_model('models:/{NAME}@champion')"
    subprocess.run([sys.executable, "-c", serve], capture_output=True, check=False)
    assert target.exists()
    # The training pairs, by which leakage is judged.
    repository = get_artifact_repository(store.get_run(run.run_id).info.artifact_uri)
    assert len(logged_pairs(find_run(run.run_id), "train")) > 100
    other = Path(repository.download_artifacts("pairs/validation.parquet", str(folder)))
    repository.log_artifact(str(other.rename(folder / "train.parquet")), "pairs")
    with pytest.raises(DataError, match="not those that it read"):
        logged_pairs(find_run(run.run_id), "train")


def test_no_secret_of_the_environment_gets_into_a_run(
    store: mlflow.MlflowClient, places: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database, artifacts, checkpoints and caches of a training run, searched byte by byte."""
    secret = "hf_s3cretS3cret"
    for name in ("HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "SOME_API_KEY"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("PPI_TRAIN_MIRROR", f"https://ann:{secret}@127.0.0.1:9/mirror")
    run = execute_pipeline("train_only", places | {"epochs": 1})
    assert store.get_run(run.run_id).info.status == "FINISHED"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in files)
    assert any(path.name == "MLmodel" for path in files)
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    # Checkpoints and caches are as open as the umask lets them be, and nothing is open to all to write.
    modes = {path.stat().st_mode & 0o777 for path in files if "checkpoints" in path.parts}
    assert all(not mode & 0o002 for mode in modes)
