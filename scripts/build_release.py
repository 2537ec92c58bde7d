"""Makes a released model: trains it by the recipe below, or takes a run that was trained by it.

    python scripts/build_release.py --name human --dataset human --text pring_arath
    python scripts/build_release.py --name human --run_id RUN_ID

The result is `ppi_train/released/NAME`: checkpoints of the pair model and of its language model with their
larger matrices in half precision, the pairs that it was trained and chosen on, and `release.json`. The
figures
of the model card are then measured on what was packed, by the commands that the card states.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import torch

import ppi_train
from ppi_train.checkpoints import Checkpoint, checkpoint_digest, read_checkpoint, write_checkpoint
from ppi_train.config.options import DatasetOptions
from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import EmbedderRequest, TrainedWeights
from ppi_train.released import PAIR_FILES, RECORD, SEQUENCES, embedder_id, parts_of
from ppi_train.runs.checkpoints import EMBEDDER_MODES, ResolvedCheckpoint, resolve_checkpoint
from ppi_train.runs.datasets import prepare
from ppi_train.runs.embedder import describe_embedder
from ppi_train.runs.training_pairs import logged_pairs, training_sequences
from ppi_train.tracking.runs import RunInfo, download_artifact

logger = logging.getLogger("ppi_train.build_release")

RELEASES = Path(ppi_train.__file__).parent / "released"
# The recipe: what differs from the defaults of train_embedder and train_only.
MODEL: dict[str, Any] = {
    "model": "v3",
    "epochs": 10,
    # The validation set is small: its AUROC changes by more from one epoch to the next than it gains.
    "early_stopping_patience": 0,
    "fresh_negatives": True,
    "granularity": "residue",
    "embedding_dtype": "float16",
}
LANGUAGE: dict[str, Any] = {}
LARGEST_BYTES = 10_000_000
# Matrices with fewer numbers stay in single precision, as do the statistics that inputs are scaled with.
_SMALL = 10_000
_STATISTICS = ("mean", "scale", "residue_", "statistics.")
# Where files lay on the machine of the training.
_PLACES = ("data_dir", "output_dir", "mirror", "text_fasta")
_TAGS = ("ppi.model", "ppi.dataset", "ppi.code_version", "ppi.device", "ppi.proteins_digest", "ppi.embedder",
         "ppi.granularity")  # fmt: skip
_METRICS = ("val/", "best_epoch", "train/loss")


def main() -> None:
    """Trains or finds the run, and packs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--name", default="human")
    parser.add_argument("--dataset", default="human")
    parser.add_argument(
        "--text",
        nargs="*",
        default=["pring_arath"],
        help="data sets of whose sequences the language model learns, too; no pair of theirs is used",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run_id", help="a run that was trained by the recipe")
    parser.add_argument("--output", type=Path, help="the folder; unset: ppi_train/released/NAME")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_id = given.run_id or trained(given.dataset, given.seed, text=given.text)
    build(run_id, given.name, given.output or RELEASES / given.name)


def trained(dataset: str, seed: int, *, text: Sequence[str] = (), **others: Any) -> str:
    """Trains the language model and then the pair model; returns the run ID of the latter."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(sequences_of(name, Path(folder), others)) for name in text]
        more: dict[str, Any] = {"text_fasta": files} if files else {}
        language = ppi_train.run("train_embedder", dataset=dataset, seed=seed, **LANGUAGE, **more, **others)
    embedder: dict[str, Any] = {"embedder": "protein_lm", "embedder_run_id": language.run_id}
    return ppi_train.run("train_only", dataset=dataset, seed=seed, **embedder, **MODEL, **others).run_id


def sequences_of(dataset: str, folder: Path, places: Mapping[str, Any]) -> Path:
    """A copy of the sequences of a data set, by the name that the record of the release gives them."""
    known = {name: value for name, value in places.items() if name in ("data_dir", "mirror")}
    made = prepare(DatasetOptions(dataset=dataset, **known), ("test",)).splits["test"].fasta
    return Path(shutil.copy(made, folder / f"{dataset}.fasta"))


def build(run_id: str, name: str, output: Path) -> None:
    """Packs a finished run and its language model into a folder, which it replaces.

    Raises:
        UserError: there is no such run, or it has no complete checkpoint.
        ValueError: the weights are larger than `LARGEST_BYTES`.
    """
    model = resolve_checkpoint(run_id)
    language = resolve_checkpoint(_embedder_run(model), modes=EMBEDDER_MODES)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".partial-") as scratch:
        folder = Path(scratch) / name
        _write_embedder(folder / "embedder", language.read())
        own_id = embedder_id(name, checkpoint_digest(folder / "embedder"))
        _write_model(folder / "model", model.read(), folder / "embedder", own_id)
        _write_pairs(folder / "pairs", model.run)
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        if size > LARGEST_BYTES:
            raise ValueError(f"the weights have {size:,} bytes, and at most {LARGEST_BYTES:,} are allowed")
        runs = {"model": _described(model.run, own_id), "embedder": _described(language.run, own_id)}
        record = {"name": name, "digests": parts_of(folder), "runs": runs}
        (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        if output.exists():
            shutil.rmtree(output)
        folder.rename(output)
    logger.info("%s: %s bytes of weights", output, f"{size:,}")


def _embedder_run(model: ResolvedCheckpoint) -> str:
    return str(model.read().description["embedding"]["recipe"]["embedder"]["parameters"]["run_id"])


def _write_embedder(folder: Path, checkpoint: Checkpoint) -> None:
    described = {**checkpoint.description, "config": _without_places(checkpoint.description["config"])}
    write_checkpoint(folder, weights=halved(checkpoint.weights), description=described)


def _write_model(folder: Path, checkpoint: Checkpoint, embedder: Path, own_id: str) -> None:
    """Writes the pair model, with the packed language model as that of its recipe."""
    embedding = dict(checkpoint.description["embedding"])
    # The rounded language model gives other numbers than those of the training.
    del embedding["content_digest"]
    embedding["recipe"] = {**embedding["recipe"], "embedder": _packed_embedder(embedding, embedder, own_id)}
    config = {**_without_places(checkpoint.description["config"]), "embedder_run_id": own_id}
    described = {**checkpoint.description, "embedding": embedding, "config": config}
    write_checkpoint(folder, weights=halved(checkpoint.weights), description=described)


def _packed_embedder(embedding: Mapping[str, Any], folder: Path, own_id: str) -> dict[str, object]:
    packed = read_checkpoint(folder)
    request = EmbedderRequest(
        name=str(embedding["recipe"]["embedder"]["name"]),
        granularity=embedding["recipe"]["granularity"],
        weights=TrainedWeights(
            run_id=own_id,
            digest=checkpoint_digest(folder),
            description=packed.description,
            tensors=packed.weights,
        ),
        model=None,
        precision="float32",
        device=torch.device("cpu"),
    )
    return describe_embedder(make_embedder(request))


def halved(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with large matrices in float16, which loading turns into float32 again.

    Raises:
        ValueError: a number is too large for float16.
    """
    found = {}
    for name, tensor in weights.items():
        is_large = tensor.dtype == torch.float32 and tensor.numel() >= _SMALL
        found[name] = tensor.half() if is_large and not name.startswith(_STATISTICS) else tensor
        if not torch.isfinite(found[name]).all():
            raise ValueError(f"{name} has numbers that float16 cannot hold")
    return found


def _write_pairs(folder: Path, run: RunInfo) -> None:
    """The pairs as the run has logged them, and the sequences of the training proteins."""
    folder.mkdir()
    for name in PAIR_FILES:
        if name != SEQUENCES:
            with tempfile.TemporaryDirectory() as scratch:
                shutil.copy(download_artifact(run, f"pairs/{name}", Path(scratch)), folder / name)
    data = DatasetOptions(
        data_dir=run.parameters["data.data_dir"], mirror=run.parameters["data.mirror"] or None
    )
    sequences, notes = training_sequences([run], data)
    if notes:
        raise ValueError("; ".join(notes))
    proteins = sorted(logged_pairs(run, "train").proteins)
    text = "".join(f">{protein}\n{sequences[protein]}\n" for protein in proteins)
    # Without a time, so that the same sequences give the same bytes.
    (folder / SEQUENCES).write_bytes(gzip.compress(text.encode(), mtime=0))


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in _PLACES}


def _described(run: RunInfo, own_id: str) -> dict[str, object]:
    """What a run of the release is logged with."""
    parameters = {
        name: value
        for name, value in run.parameters.items()
        if "." in name and name.rpartition(".")[2] not in _PLACES
    }
    if "embedding.embedder_run_id" in parameters:
        parameters["embedding.embedder_run_id"] = own_id
    tags = {name: value for name, value in run.tags.items() if name in _TAGS}
    metrics = {name: value for name, value in run.metrics.items() if name.startswith(_METRICS)}
    return {
        "mode": run.mode,
        "parameters": parameters,
        "tags": tags,
        "metrics": metrics,
        "datasets": _datasets(run),
    }


def _datasets(run: RunInfo) -> list[dict[str, object]]:
    """The data sets that the run has logged; their source is the data set's name, not a local path."""
    found: list[dict[str, object]] = []
    inputs = mlflow.MlflowClient().get_run(run.run_id).inputs
    for item in inputs.dataset_inputs if inputs else []:
        tags = {tag.key: tag.value for tag in item.tags}
        context = tags.pop("mlflow.data.context")
        ((counts, size),) = tags.items()
        found.append(
            {
                "name": item.dataset.name,
                "context": context,
                "digest": item.dataset.digest,
                "source": f"dataset={item.dataset.name.partition('/')[0]}",
                "size": int(size),
                "counts": counts,
            }
        )
    return found


if __name__ == "__main__":
    main()
