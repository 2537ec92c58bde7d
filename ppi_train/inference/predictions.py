"""The Parquet table of scored pairs that an evaluation writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.data.pairs import PairTable


def write_predictions(
    path: Path,
    table: PairTable,
    logits: np.ndarray,
    probabilities: np.ndarray,
    uncertainty: np.ndarray | None = None,
) -> None:
    """Writes scored pairs to a Parquet file, one row per pair.

    The columns are `protein_a`, `protein_b`, `logit`, `probability`, `uncertainty` and `label`.

    Args:
        uncertainty: The standard deviation of each logit; None to leave the column out.
    """
    vocabulary = pa.array(table.proteins, pa.string())
    columns = {
        "protein_a": vocabulary.take(pa.array(table.index[:, 0])),
        "protein_b": vocabulary.take(pa.array(table.index[:, 1])),
        "logit": pa.array(logits, pa.float32()),
        "probability": pa.array(probabilities, pa.float32()),
    }
    if uncertainty is not None:
        columns["uncertainty"] = pa.array(uncertainty, pa.float32())
    if table.labels is not None:
        columns["label"] = pa.array(table.labels, pa.int8())
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, compression="zstd")
