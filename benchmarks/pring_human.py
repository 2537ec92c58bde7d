"""AUPRC on PRING's human validation pairs of `v3` that was trained on PRING's human training pairs.

    python benchmarks/pring_human.py --mirror FOLDER [--work FOLDER] [--seeds 1]

Both sets as far as the sequences are in Bernett's files: 32,249 and 8,147 pairs, none in both. As PRING
divides them, nearly all proteins of the validation pairs are in training pairs too. The embeddings are the
residues of the released language model; ten epochs, fresh negatives. With --work they are kept.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from transfer import EMBEDDER, Data

from ppi_train.data.pairs import write_pairs
from ppi_train.modes import execute_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mirror", default=os.environ.get("PPI_TRAIN_MIRROR"), type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        data = Data(folder, options.mirror.absolute())
        cache = folder / "human_residues.parquet"
        if not cache.exists():
            residues = {"granularity": "residue", "embedding_dtype": "float16", "output": str(cache)}
            paths = {"dataset": "bernett", "mirror": str(data.mirror), "data_dir": str(folder)}
            execute_pipeline("embed", EMBEDDER | residues | paths)
        given = {"embeddings": str(cache), "data_dir": str(folder), "output_dir": str(folder / "runs")}
        for split, name in (("train", "train_pairs"), ("val", "val_pairs")):
            given[name] = str(folder / f"pring_human_{split}.parquet")
            write_pairs(Path(given[name]), data.pring_human(split))
        print("| seed | AUROC | AUPRC |\n| --- | --- | --- |")
        recipe = {"model": "v3", "epochs": 10, "fresh_negatives": True, "early_stopping_metric": "val/auprc"}
        for seed in range(options.seeds):
            found = execute_pipeline("train_only", given | recipe | {"seed": seed}).metrics
            print(f"| {seed} | {found['val/auroc_best']:.4f} | {found['val/auprc_best']:.4f} |", flush=True)


if __name__ == "__main__":
    main()
