"""What evidence besides the model's logit gains on Arabidopsis, of which no pair is trained on.

    python benchmarks/transfer_experts.py --mirror FOLDER --work FOLDER [--recipe given] [--seeds 3]
    python benchmarks/transfer_experts.py --mirror FOLDER --work FOLDER --recipe everything_fresh --cosine

Each expert is a score of a pair that nothing is trained for. It is added to the logit with a weight fitted by
logistic regression on Bernett's validation pairs (`given`), or on their positives against uniform pairs
(`uniform`), and then asked about PRING's Arabidopsis. --work is the folder of `benchmarks/transfer.py`. With
--cosine only that of the embeddings is added, with the weights of recipe `given` and seed 0, to the logits of
a recipe whose inputs are standardised by the asked proteins.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from transfer import UNIFORM_PAIRS, Data, Measured, all_logits, moved, positives, trained, with_negatives

from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable
from ppi_train.evaluation.ranking import Ranking
from ppi_train.models.base import PairModel

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class Asked:
    """Proteins that are asked about, with those of training.

    `vectors` (n, d) and `words` (n, w) are their embeddings and k-mer counts, both with rows of length 1;
    `logits` (n, n) is the model's, `cohort` (n,) its mean with some training proteins.
    """

    logits: Floats
    cohort: Floats
    vectors: Floats
    words: sparse.csr_array


def unit(values: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    rows: Floats = values / np.maximum(lengths, 1e-9)
    return rows


def standardised(vectors: torch.Tensor) -> Floats:
    """Embeddings with mean 0 and deviation 1 over these proteins, clipped, of length 1."""
    values = vectors.numpy().astype(np.float32)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    return unit(np.clip(values, -5, 5))


def words_of(sequences: list[str], size: int = 3) -> sparse.csr_array:
    """Counts of each word of `size` letters, square roots, of length 1."""
    place = {letter: number for number, letter in enumerate(LETTERS)}
    rows, columns = [], []
    for row, sequence in enumerate(sequences):
        codes = np.array([place.get(letter, 0) for letter in sequence])
        found = sum(codes[at : len(codes) - size + 1 + at] * 20**at for at in range(size))
        rows.append(np.full(len(found), row))
        columns.append(found)
    ends = np.concatenate(rows), np.concatenate(columns)
    counts = sparse.coo_array((np.ones(len(ends[0])), ends), shape=(len(sequences), 20**size)).tocsr()
    counts.data = np.sqrt(counts.data)
    # Words that are frequent everywhere say nothing.
    counts = counts.multiply(
        np.log(len(sequences) / (1 + np.bincount(counts.indices, minlength=20**size)))
    ).tocsr()
    norms = np.sqrt(counts.multiply(counts).sum(axis=1))
    return (sparse.diags_array(1 / np.maximum(norms, 1e-9)) @ counts).tocsr()


def nearest(similarity: Floats, kept: int, sharpness: float) -> sparse.csr_array:
    """Weights (n, m) of each row's `kept` most similar training proteins, which sum to 1."""
    columns = np.argpartition(-similarity, kept, axis=1)[:, :kept]
    values = np.take_along_axis(similarity, columns, axis=1) * sharpness
    weights = np.exp(values - values.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(similarity)), kept)
    return sparse.coo_array((weights.ravel(), (rows, columns.ravel())), shape=similarity.shape).tocsr()


def interologs(weights: sparse.csr_array, true: sparse.csr_array, false: sparse.csr_array) -> Floats:
    """Log odds (n, n) of interacting to other training pairs of similar proteins."""
    interacting, other = ((weights @ made @ weights.T).toarray() for made in (true, false))
    odds: Floats = np.log((interacting + 1e-3) / (other + 1e-3))
    return odds


def experts(
    asked: Asked, training: Asked, true: sparse.csr_array, false: sparse.csr_array
) -> Iterator[tuple[str, Floats]]:
    """The experts by name, each (n, n)."""
    yield "cosine of embeddings", asked.vectors @ asked.vectors.T
    yield "words of three letters in common", (asked.words @ asked.words.T).toarray()
    alike = asked.vectors @ training.vectors.T
    for kept, sharpness in ((5, 10.0), (50, 10.0), (400, 10.0)):
        yield (
            f"interologs by embeddings, {kept} neighbours",
            interologs(nearest(alike, kept, sharpness), true, false),
        )
    by_words = (asked.words @ training.words.T).toarray()
    for kept in (1, 5, 50):
        yield (
            f"interologs by words, {kept} neighbours",
            interologs(nearest(by_words, kept, 20.0), true, false),
        )
    mean = asked.logits.mean(axis=1)
    yield "mean logit of both proteins", mean[:, None] + mean[None, :]
    yield "mean logit with training proteins", asked.cohort[:, None] + asked.cohort[None, :]


@torch.inference_mode()
def mean_with(model: PairModel, asked: torch.Tensor, training: torch.Tensor) -> Floats:
    """The mean calibrated logit (n,) of each protein with every eighth training protein."""
    states, cohort = model.encode(asked), model.encode(training[::8])
    found: Floats = (model.score_block(states, cohort).mean(dim=1) / model.temperature).double().numpy()
    return found


def fitted(features: Floats, labels: Floats) -> Floats:
    """Weights of logistic regression on (n, f) features, without the constant."""
    x = np.column_stack([features, np.ones(len(features))])
    weights = np.zeros(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-(x @ weights)))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(len(weights))
        weights += np.linalg.solve(hessian, x.T @ (labels - p))
    return weights[:-1]


def sequences(data: Data) -> tuple[dict[str, str], dict[str, str]]:
    """Of the human proteins, and of those of Arabidopsis."""
    human: dict[str, str] = {}
    for split in ("train", "validation"):
        human |= read_fasta(next((data.folder / "bernett").glob(f"{split}*.fasta*"))).sequences
    return human, dict(read_fasta(data.folder / "arabidopsis.fasta").sequences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mirror", default=os.environ.get("PPI_TRAIN_MIRROR"), type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", default="given")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cosine", action="store_true")
    parser.add_argument("--expert", default="", help="only those whose name has this text")
    options = parser.parse_args()
    folder = options.work.absolute()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["PPI_TRAIN_CACHE"] = f"{folder}/cache"
    data = Data(folder, options.mirror.absolute())
    os.chdir(folder)
    if options.cosine:
        print("| recipe | seed | weight | AUROC | AUPRC | AUPRC, all pairs | at 0.5 | expected | limit |")
        print("|" + " --- |" * 9)
        for line in with_cosine(data, options.recipe, options.seeds):
            print(line, flush=True)
        return
    print(
        "| expert | seed | weights | validation: alone, added | Arabidopsis: alone, added, added (uniform) "
        "| expected: similarity (density) before, added, added (uniform) |"
    )
    print("|" + " --- |" * 6)
    for seed in range(options.seeds):
        for line in lines(data, options.recipe, seed, options.expert):
            print(line, flush=True)


def lines(data: Data, recipe: str, seed: int, named: str) -> Iterator[str]:
    """A line for each expert whose name has the text `named`."""
    train, validation = data.bernett["train"], data.bernett["validation"]
    network = positives(train)
    false = network_of_negatives(train)
    human, plant = sequences(data)
    model = trained(data, recipe, seed)
    vectors = {
        name: torch.from_numpy(data.human.protein_matrix(table.proteins))
        for name, table in data.bernett.items()
    }
    training = Asked(
        np.empty((0, 0)),
        np.empty(0),
        standardised(vectors["train"]),
        words_of([human[name] for name in train.proteins]),
    )
    of_validation = Asked(
        all_logits(model, vectors["validation"]),
        mean_with(model, vectors["validation"], vectors["train"]),
        standardised(vectors["validation"]),
        words_of([human[name] for name in validation.proteins]),
    )
    asked = Asked(
        all_logits(model, data.asked),
        mean_with(model, data.asked, vectors["train"]),
        standardised(data.asked),
        words_of([plant[name] for name in data.arabidopsis.proteins]),
    )
    tables = validation_tables(data)
    before = Measured.of(asked.logits, data, network)
    yield f"| none | {seed} | 0 | {auroc(of_validation.logits, tables['given']):.4f} | {before.cells} | |"
    pairs = zip(
        experts(of_validation, training, network.adjacency, false),
        experts(asked, training, network.adjacency, false),
        strict=True,
    )
    for (name, known), (_, wanted) in pairs:
        if named not in name:
            continue
        added, measured, weights = [], [], []
        for index, labels in tables.values():
            features = np.column_stack([of_validation.logits[tuple(index.T)], known[tuple(index.T)]])
            w = fitted(features, labels)
            weights.append(f"{w[1] / w[0]:.2f}")
            added.append(auroc(of_validation.logits + w[1] / w[0] * known, (index, labels)))
            measured.append(Measured.of(asked.logits + w[1] / w[0] * wanted, data, network))
        alone = Measured.of(wanted, data, network).auroc
        points = [before, *measured]
        yield (
            f"| {name} | {seed} | {', '.join(weights)} "
            f"| {auroc(known, tables['given']):.4f}, {added[0]:.4f} | {alone:.4f}, "
            f"{measured[0].auroc:.4f}, {measured[1].auroc:.4f} | "
            + ", ".join(f"{found.expected[0]:.3f} ({found.expected[1]:.2f})" for found in points)
            + " |"
        )


def validation_tables(data: Data) -> dict[str, tuple[Floats, Floats]]:
    """Pairs of Bernett's validation proteins with their labels, `given` and `uniform`."""
    validation = data.bernett["validation"]
    uniform = with_negatives(validation, "uniform", UNIFORM_PAIRS)
    # Other proteins than those of the given pairs may be missing in it.
    rows = np.searchsorted(np.array(validation.proteins), np.array(uniform.proteins))
    return {
        "given": (validation.index, validation.required_labels),
        "uniform": (rows[uniform.index], uniform.required_labels),
    }


def with_cosine(data: Data, recipe: str, seeds: int) -> Iterator[str]:
    """A line for each seed and weight of the cosine, and for the mean logits of the seeds."""
    network = positives(data.bernett["train"])
    vectors = torch.from_numpy(data.human.protein_matrix(data.bernett["validation"].proteins))
    known, wanted = (standardised(made) @ standardised(made).T for made in (vectors, data.asked))
    logits = all_logits(trained(data, "given", 0), vectors)
    weights = {"none": 0.0}
    for name, (index, labels) in validation_tables(data).items():
        w = fitted(np.column_stack([logits[tuple(index.T)], known[tuple(index.T)]]), labels)
        weights[f"{name}, {w[1] / w[0]:.2f}"] = float(w[1] / w[0])
    of_seeds = {
        str(seed): all_logits(moved(trained(data, recipe, seed), data.asked, 1.0, 1.0), data.asked)
        for seed in range(seeds)
    }
    if seeds > 1:
        of_seeds[f"mean of {seeds}"] = np.mean(list(of_seeds.values()), axis=0)
    for seed, found in of_seeds.items():
        for name, weight in weights.items():
            cells = Measured.of(found + weight * wanted, data, network).cells
            yield f"| {recipe} | {seed} | {name} | {cells} |"


def network_of_negatives(table: PairTable) -> sparse.csr_array:
    index, size = table.index[table.required_labels == 0], len(table.proteins)
    ends = np.concatenate([index, index[:, ::-1]])
    return sparse.coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(size, size)).tocsr()


def auroc(scores: Floats, table: tuple[Floats, Floats]) -> float:
    index, labels = table
    return Ranking.of(scores[tuple(index.T)], labels).auroc()


if __name__ == "__main__":
    main()
