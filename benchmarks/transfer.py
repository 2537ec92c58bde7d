"""What transfers from human training pairs to Arabidopsis, of which no pair is trained on.

    python benchmarks/transfer.py --mirror FOLDER [--seeds 3] [--only RECIPE,...] [--work FOLDER]

For each recipe of training pairs and each way of asking, prints AUROC and AUPRC on the test pairs of PRING's
Arabidopsis, the development species; AUPRC over all of its pairs; graph similarity and relative density of
the breadth-first node sets at 0.5, at the expected number of edges, and the limit over thresholds; and AUROC
on Bernett's validation pairs, and of their positives against uniform pairs of the same proteins.

The embeddings are those of the released language model, the pair model is `pooled_mlp`. With --work the
embeddings and runs are kept, and a second call continues with the recipes that are not there yet.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ppi_train.checkpoints import model_from_checkpoint
from ppi_train.data.benchmarks.prepare import Split, prepare_dataset
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.negatives import NEGATIVES
from ppi_train.data.pairs import PairTable, pairs_from_ids, read_pairs, write_pairs
from ppi_train.data.protein_sets import published_node_sets, read_node_sets
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.evaluation.network import Network, network_from_pairs
from ppi_train.evaluation.network.curve import threshold_curve
from ppi_train.evaluation.network.expected import asked_pairs, count_threshold, walk_densities
from ppi_train.evaluation.network.topology import TrueSample
from ppi_train.evaluation.ranking import Ranking
from ppi_train.models.base import PairModel
from ppi_train.modes import execute_pipeline
from ppi_train.runs.checkpoints import resolve_checkpoint
from ppi_train.runs.training_pairs import ordered_pairs

PRING = "raw.githubusercontent.com/SophieSarceau/PRING/10a05300bf9d68f02fa2e6e4d22ee7786ac548c2/pring_dataset"
EMBEDDER = {"embedder": "protein_lm", "embedder_run_id": "released:human"}
UNIFORM_PAIRS = 20  # to each positive of validation


@dataclass(frozen=True)
class Data:
    """The tables and embeddings that all recipes share."""

    folder: Path
    mirror: Path

    @cached_property
    def bernett(self) -> dict[str, PairTable]:
        """Bernett's training and validation pairs, `train` and `validation`."""
        splits = prepare_dataset(
            "bernett", data_dir=self.folder, mirror=str(self.mirror), splits=("train", "validation")
        ).splits
        return {name: read_pairs(split.pairs) for name, split in splits.items()}

    @cached_property
    def arabidopsis(self) -> PairTable:
        return read_pairs(self._arabidopsis.pairs)

    @cached_property
    def _arabidopsis(self) -> Split:
        return prepare_dataset(
            "pring_arath", data_dir=self.folder, mirror=str(self.mirror), splits=("test",)
        ).splits["test"]

    def pring_human(self, split: str) -> PairTable:
        """PRING's human pairs of which both proteins have a sequence in Bernett's files."""
        known = {*self.bernett["train"].proteins, *self.bernett["validation"].proteins}
        rows = [line.split() for line in (self.mirror / PRING / f"human/human_{split}_ppi.txt").open()]
        kept = [row for row in rows if row[0] in known and row[1] in known]
        a, b, labels = zip(*kept, strict=True)
        return pairs_from_ids(a, b, [int(label) for label in labels], f"PRING human, {split}")

    @cached_property
    def samples(self) -> dict[str, TrueSample]:
        """The true network of Arabidopsis on its node sets."""
        files = published_node_sets("pring_arath", data_dir=self.folder, mirror=str(self.mirror))
        truth = positives(self.arabidopsis)
        return {kind: TrueSample.of(truth, read_node_sets(path)) for kind, path in files.items()}

    @cached_property
    def human(self) -> EmbeddingCache:
        return EmbeddingCache(self.embedded("human", {"dataset": "bernett"}))

    @cached_property
    def asked(self) -> torch.Tensor:
        """The embeddings of the test proteins of Arabidopsis, (n, d)."""
        wanted = set(self.arabidopsis.proteins)
        sequences = read_fasta(self._arabidopsis.fasta).sequences
        path = self.folder / "arabidopsis.fasta"
        write_fasta(path, {name: sequence for name, sequence in sequences.items() if name in wanted})
        cache = EmbeddingCache(self.embedded("arabidopsis", {"fasta": str(path)}))
        return torch.from_numpy(cache.protein_matrix(self.arabidopsis.proteins))

    def embedded(self, name: str, given: dict[str, str]) -> Path:
        """The cache of some proteins, embedded by the released language model."""
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            paths = {"mirror": str(self.mirror), "data_dir": str(self.folder), "output": str(path)}
            execute_pipeline("embed", given | EMBEDDER | paths)
        return path


def positives(table: PairTable) -> Network:
    return network_from_pairs(table.proteins, table.index[table.required_labels == 1])


def joined(*tables: PairTable) -> PairTable:
    """All pairs of some tables; a pair of several has the label of the first."""
    labelled: dict[tuple[str, str], int] = {}
    for table in tables:
        for pair, label in zip(ordered_pairs(table), table.required_labels.tolist(), strict=True):
            labelled.setdefault(pair, label)
    a, b = zip(*labelled, strict=True)
    return pairs_from_ids(a, b, list(labelled.values()), "joined")


def without(table: PairTable, other: PairTable) -> PairTable:
    """The pairs of a table that are not in another one."""
    known = set(ordered_pairs(other))
    return table.select(np.array([pair not in known for pair in ordered_pairs(table)]))


def with_negatives(table: PairTable, kind: str, ratio: float, seed: int = 0) -> PairTable:
    """The positives of a table with other negatives, `ratio` to each positive."""
    true = table.index[table.required_labels == 1]
    drawn = NEGATIVES[kind](
        true, forbidden=table.index[:0], count=round(ratio * len(true)), rng=np.random.default_rng(seed)
    )
    both = np.concatenate([true, drawn])
    names = np.array(table.proteins)[both]
    labels = np.repeat([1, 0], [len(true), len(drawn)])
    return pairs_from_ids(names[:, 0].tolist(), names[:, 1].tolist(), labels, kind)


Tables = tuple[PairTable, PairTable]


def recipes(data: Data) -> dict[str, Callable[[], Tables]]:
    """Training and validation pairs by the name of the recipe."""
    intra1, intra0 = data.bernett["train"], data.bernett["validation"]
    own = set(intra1.proteins)

    def pring_inside() -> PairTable:
        table = data.pring_human("train")
        inside = np.array([name in own for name in table.proteins])
        return table.select(inside[table.index].all(axis=1))

    def everything() -> Tables:
        """Whole proteins of validation are trained on: chosen on PRING's human validation pairs."""
        validation = without(without(data.pring_human("val"), intra1), intra0)
        return joined(intra1, intra0, data.pring_human("train")), validation

    return {
        "given": lambda: (intra1, intra0),
        "fresh": lambda: (intra1, intra0),
        "uniform": lambda: (with_negatives(intra1, "uniform", 1), with_negatives(intra0, "uniform", 1)),
        "half": lambda: (
            joined(intra1, with_negatives(intra1, "uniform", 1)),
            intra0,
        ),
        "uniform5": lambda: (with_negatives(intra1, "uniform", 5), with_negatives(intra0, "uniform", 1)),
        "matched5": lambda: (with_negatives(intra1, "degree_matched", 5), intra0),
        "pring": lambda: (joined(intra1, pring_inside()), intra0),
        "pring_only": lambda: (pring_inside(), intra0),
        "both_intra": lambda: (joined(intra1, intra0), everything()[1]),
        "everything": everything,
        "everything_fresh": everything,
    }


EXTRA: dict[str, dict[str, object]] = {
    "fresh": {"fresh_negatives": True},
    "everything_fresh": {"fresh_negatives": True},
    "matched5": {"class_weight": "balanced"},
    "uniform5": {"class_weight": "balanced"},
}


def trained(data: Data, recipe: str, seed: int) -> PairModel:
    """The model of a recipe, trained now or in an earlier call."""
    note = data.folder / f"run-{recipe}-{seed}.txt"
    if not note.exists():
        train, validation = recipes(data)[recipe]()
        paths = {name: data.folder / f"{recipe}-{name}.parquet" for name in ("train_pairs", "val_pairs")}
        write_pairs(paths["train_pairs"], train)
        write_pairs(paths["val_pairs"], validation)
        given = {name: str(path) for name, path in paths.items()} | {
            "embeddings": str(data.folder / "human.parquet"),
            "data_dir": str(data.folder),
            "output_dir": str(data.folder / "runs"),
            "seed": seed,
        }
        result = execute_pipeline("train_only", given | EXTRA.get(recipe, {}))
        note.write_text(f"{result.run_id} {result.metrics['val/auroc_best']:.4f}")
    run_id = note.read_text().split()[0]
    return model_from_checkpoint(resolve_checkpoint(run_id).read(), torch.device("cpu"))


def moved(model: PairModel, asked: torch.Tensor, mean: float, deviation: float) -> PairModel:
    """The model with its input statistics moved towards those of the asked proteins.

    Args:
        mean: 0 keeps the mean of training, 1 takes that of the asked proteins.
        deviation: The same for the deviation.
    """
    made = copy.deepcopy(model)
    made.refit_scale([asked])
    made.mean.copy_(torch.lerp(model.mean, made.mean, mean))
    made.scale.copy_(torch.lerp(model.scale, made.scale, deviation))
    return made


@torch.inference_mode()
def all_logits(model: PairModel, features: torch.Tensor) -> np.ndarray:
    """Calibrated logits of all pairs, (n, n)."""
    states = model.encode(features)
    blocks = [model.score_block(states[rows], states) for rows in torch.arange(len(features)).split(256)]
    return (torch.cat(blocks) / model.temperature).numpy().astype(np.float64)


@dataclass(frozen=True)
class Measured:
    """The figures of one way of asking about Arabidopsis."""

    auroc: float
    auprc: float
    all_pairs: float
    half: tuple[float, float]
    expected: tuple[float, float]
    limit: tuple[float, float]

    @classmethod
    def of(cls, logits: np.ndarray, data: Data, training: Network) -> Measured:
        """Measures logits (n, n) of all pairs."""
        table, samples = data.arabidopsis, data.samples
        of_test = Ranking.of(logits[tuple(table.index.T)], table.required_labels)
        upper = np.stack(np.triu_indices(len(logits)), axis=1)
        values = logits[tuple(upper.T)]
        truth = samples["bfs"].network
        labels = np.asarray(truth.adjacency.todense())[tuple(upper.T)].astype(np.int8)
        densities = walk_densities(
            training, {kind: list(made.sets) for kind, made in samples.items()}, seed=0
        )
        sets = {kind: made.sets for kind, made in samples.items()}
        weights, count = asked_pairs(len(logits), sets, densities)
        at = count_threshold(values, count, np.asarray(weights.todense())[tuple(upper.T)])
        curve = threshold_curve(upper, values, {"bfs": samples["bfs"]}, marked=(0.0, at))
        found = curve.by_kind["bfs"]

        def point(threshold: float) -> tuple[float, float]:
            place = int(np.searchsorted(curve.thresholds, threshold))
            return float(found["graph_similarity"][place]), float(found["relative_density"][place])

        best = curve.best("bfs")
        return cls(
            auroc=of_test.auroc(),
            auprc=of_test.average_precision(),
            all_pairs=Ranking.of(values, labels).average_precision(),
            half=point(0.0),
            expected=point(at),
            limit=(best["graph_similarity"], best["relative_density"]),
        )

    @property
    def cells(self) -> str:
        points = (f"{value:.3f} ({density:.2f})" for value, density in (self.half, self.expected, self.limit))
        return f"{self.auroc:.4f} | {self.auprc:.4f} | {self.all_pairs:.4f} | {' | '.join(points)}"


def validation_cells(model: PairModel, data: Data) -> str:
    """AUROC on Bernett's validation pairs, and of their positives against uniform pairs."""
    given = data.bernett["validation"]
    uniform = with_negatives(given, "uniform", UNIFORM_PAIRS)
    return " | ".join(f"{pair_auroc(model, data, table):.4f}" for table in (given, uniform))


@torch.inference_mode()
def pair_auroc(model: PairModel, data: Data, table: PairTable) -> float:
    states = model.encode(torch.from_numpy(data.human.protein_matrix(table.proteins)))
    index = torch.from_numpy(table.index).long()
    scores = [model.score(states[rows[:, 0]], states[rows[:, 1]]) for rows in index.split(65_536)]
    return Ranking.of(torch.cat(scores).double().numpy(), table.required_labels).auroc()


WAYS = {
    "as trained": (0.0, 0.0),
    "mean of the asked proteins": (1.0, 0.0),
    "half of that mean": (0.5, 0.0),
    "mean and deviation": (1.0, 1.0),
}


def rows(data: Data, recipe: str, seeds: int) -> Iterator[str]:
    """The lines of one recipe, one for each seed and way of asking, and for the mean of the logits."""
    training = positives(data.bernett["train"])
    summed: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    for seed in range(seeds):
        model = trained(data, recipe, seed)
        on_validation = validation_cells(model, data)
        for way, shares in WAYS.items():
            logits = all_logits(moved(model, data.asked, *shares), data.asked)
            summed[way].append(logits)
            measured = Measured.of(logits, data, training)
            yield f"| {recipe} | {seed} | {way} | {measured.cells} | {on_validation} |"
    for way, of_seeds in summed.items():
        if len(of_seeds) > 1:
            measured = Measured.of(np.mean(of_seeds, axis=0), data, training)
            yield f"| {recipe} | mean of {seeds} | {way} | {measured.cells} | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mirror", default=os.environ.get("PPI_TRAIN_MIRROR"), type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="given")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PPI_TRAIN_CACHE"] = f"{folder}/cache"
        data = Data(folder, options.mirror.absolute())
        os.chdir(folder)
        data.embedded("human", {"dataset": "bernett"})
        print(
            "| training pairs | seed | input statistics | AUROC | AUPRC | AUPRC, all pairs "
            "| similarity (density) at 0.5 | expected | limit | validation | against uniform |"
        )
        print("|" + " --- |" * 11)
        for recipe in options.only.split(","):
            for line in rows(data, recipe, options.seeds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
