"""Train, compare and promote protein-protein interaction models, every run tracked in MLflow.

Each run mode is also a function; see `ppi_train.api`:

    import ppi_train

    run = ppi_train.train(fasta="my.fasta", train_pairs="train.tsv", val_pairs="validation.tsv")
    print(run.metrics["val/auroc_best"], run.url)
    scores = run.model.predict(pairs)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppi_train.api import (
        compare,
        embed,
        evaluate,
        finetune,
        load_model,
        open_cache,
        predict,
        promote,
        run,
        train,
    )

__all__ = [
    "compare",
    "embed",
    "evaluate",
    "finetune",
    "load_model",
    "open_cache",
    "predict",
    "promote",
    "run",
    "sweep",
    "train",
]

__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    """Imports the Python interface when it is first used: `import ppi_train` itself is instant."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ppi_train import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
