"""What reference proteins gain on proteins that neither they nor their share were fitted on.

    python benchmarks/reference_halves.py --run_id RUN_ID --embeddings PATH --pairs PAIRS.tsv [--halves 5]

Divides the proteins of labelled pairs, of which the run's model was trained on none, into halves at random.
Reference proteins, and the share that is taken off, come from the pairs within one half; AUROC is that of the
pairs within the other one, without and with them. Each division is used both ways.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from ppi_train.checkpoints import model_from_checkpoint
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.evaluation.ranking import Ranking
from ppi_train.features import PairData, features_of
from ppi_train.inference.reference import score_with_new_reference
from ppi_train.inference.scoring import score_pairs
from ppi_train.models.base import PairModel
from ppi_train.runs.checkpoints import resolve_checkpoint
from ppi_train.training.ranks import SingleProcess


def pair_data(table: PairTable, cache: EmbeddingCache, granularity: str) -> PairData:
    return PairData(
        features=features_of(cache, table.proteins, granularity),
        pairs=torch.from_numpy(table.index),
        labels=torch.from_numpy(table.required_labels),
    )


def auroc(model: PairModel, data: PairData) -> float:
    return Ranking.of(score_pairs(model, data).double().numpy(), data.labels.numpy()).auroc()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run_id", required=True)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--halves", type=int, default=5, help="divisions into halves")
    given = parser.parse_args()
    model = model_from_checkpoint(resolve_checkpoint(given.run_id).read(), torch.device("cpu"))
    cache, table, alone = EmbeddingCache(given.embeddings), read_pairs(given.pairs), SingleProcess()
    print("| division | pairs | share | AUROC without | with | gain |\n" + "|" + " --- |" * 6)
    gains = []
    for number in range(given.halves):
        side = np.random.default_rng(number).random(len(table.proteins)) < 0.5
        halves = [
            pair_data(table.select((side == which)[table.index].all(axis=1)), cache, model.GRANULARITY)
            for which in (False, True)
        ]
        for fitted_on, measured in (halves, halves[::-1]):
            _, share = score_with_new_reference(
                model, fitted_on, share=alone.share, from_first=alone.from_first
            )
            after = auroc(model, measured)
            model.set_reference_share(0.0)
            before = auroc(model, measured)
            gains.append(after - before)
            print(
                f"| {number} | {len(measured):,} | {share:.2f} | {before:.4f} | {after:.4f} "
                f"| {after - before:+.4f} |",
                flush=True,
            )
    print(f"mean gain {np.mean(gains):+.4f} ({min(gains):+.4f} to {max(gains):+.4f})")


if __name__ == "__main__":
    main()
