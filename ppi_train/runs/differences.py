"""How compared runs differ, and labels made of that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ppi_train.reporting.page import Row, Table, columns
from ppi_train.tracking.runs import RunInfo

_LONGEST = 60
_UNSET = "–"
# Of the machine and its disks, or another name for what the tags say.
_NOT_CHOSEN = frozenset(
    {"output_dir", "data_dir", "mirror", "fasta", "embeddings", "checkpoint_every", "cache_memory_mb"}
    | {"tracking_flush_seconds", "offline", "pretrain_run_id", "embedder_run_id"}
)


def differing_parameters(runs: Sequence[RunInfo]) -> dict[str, tuple[str, ...]]:
    """The parameters that differ between runs, with the value of each.

    Sorted, by their names without section; paths and run IDs are left out. `–` stands for no such parameter.
    """
    names = sorted({name for run in runs for name in run.parameters}, key=_short)
    values = {name: tuple(run.parameters.get(name) or _UNSET for run in runs) for name in names}
    return {
        _short(name): found
        for name, found in values.items()
        if len(set(found)) > 1 and _short(name) not in _NOT_CHOSEN
    }


def labels_of(runs: Sequence[RunInfo]) -> list[str]:
    """A different label for each run.

    It is the run's name, or how the run differs from those of the same name. Where that takes too many
    words, or there is no name, it is the start of the run ID.
    """
    counts = Counter(in_metrics(run.name) for run in runs)
    labels = [
        run.name if run.name and counts[in_metrics(run.name)] == 1 else _by_parameters(run, runs)
        for run in runs
    ]
    unlike = Counter(map(in_metrics, labels))
    return [
        label if label and unlike[in_metrics(label)] == 1 else run.run_id[:8]
        for label, run in zip(labels, runs, strict=True)
    ]


def _by_parameters(run: RunInfo, runs: Sequence[RunInfo]) -> str:
    """A label such as `seed=1`; empty if it would be too long.

    It has the run's name too, if others have another.
    """
    alike = [other for other in runs if in_metrics(other.name) == in_metrics(run.name)]
    words = [f"{name}={values[alike.index(run)]}" for name, values in differing_parameters(alike).items()]
    label = " ".join(words if len(alike) == len(runs) else [*words, run.name])
    return label if len(label) <= _LONGEST else ""


def in_metrics(label: str) -> str:
    """A label as a part of a metric's name, in which MLflow allows few characters."""
    return re.sub(r"[^A-Za-z0-9_. -]", "_", label)[:100]


def differences_table(runs: Sequence[RunInfo], labels: Sequence[str]) -> Table | None:
    """A table of the parameters that differ; None without any."""
    differing = differing_parameters(runs)
    if not differing:
        return None
    return Table(
        caption="Parameters that differ between the trainings",
        columns=columns(["parameter", *labels], []),
        rows=tuple(Row(cells=(name, *values)) for name, values in differing.items()),
    )


def _short(parameter: str) -> str:
    return parameter.rpartition(".")[2]
