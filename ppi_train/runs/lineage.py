"""Origin of a run: its code and its ancestors.

`lineage_table` shows where a scored model comes from, and the commands that reproduce it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import ppi_train
from ppi_train.config.fields import FieldSpec, describe_fields
from ppi_train.io.files import file_digest
from ppi_train.reporting.page import Column, Row, Section, Table
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.configs import MODES
from ppi_train.runs.inputs import SplitInputs

logger = logging.getLogger(__name__)

_PACKAGE = Path(ppi_train.__file__).parent

# Output places do not affect results.
_PLACES = ("output_dir",)


@functools.cache
def code_version() -> str:
    """The package version and source digest, such as `0.1.0+3f2a9c0d1b4e`.

    Two runs with the same code version ran the same source.
    """
    hasher = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        hasher.update(f"{path.relative_to(_PACKAGE)}\0".encode())
        hasher.update(path.read_bytes())
    return f"{ppi_train.__version__}+{hasher.hexdigest()[:12]}"


def lineage_of(resolved: ResolvedCheckpoint) -> list[str]:
    """IDs of a run's ancestors, oldest first, followed by its own ID."""
    return [*resolved.read().description.get("lineage", ()), resolved.run.run_id]


def lineage_table(resolved: ResolvedCheckpoint, inputs: SplitInputs, *, caption: str) -> Table:
    """Run, ancestors, embedder, data with digests and code of a scored checkpoint."""
    run, description = resolved.run, resolved.read().description
    spec = inputs.cache.spec
    rows = [
        ("model", description["model"]["name"]),
        ("trained by", f"{run.name}, run {run.run_id}"),
        *(("pretrained by", f"run {run_id}") for run_id in description.get("lineage", ())),
        ("checkpoint", f"sha256 {resolved.digest}"),
        ("embedder", str(spec.embedder["name"])),
        *([("embedder trained by", f"run {spec.embedder_run_id}")] if spec.embedder_run_id else []),
        ("embeddings", f"sha256 {inputs.cache.digest}"),
        ("their numbers", f"sha256 {inputs.cache.content_digest}"),
        *((f"training data {name}", f"sha256 {digest}…") for name, digest in sorted(run.datasets.items())),
        *(
            (f"scored data {inputs.name}/{split}", f"sha256 {table.digest}")
            for split, table in inputs.tables.items()
        ),
        ("trained with code", run.tags.get("ppi.code_version", "not recorded")),
        ("trained on", run.tags.get("ppi.device", "not recorded")),
        ("scored with code", code_version()),
    ]
    columns = (Column(name="what"), Column(name="which", kind="code"))
    return Table(caption=caption, columns=columns, rows=tuple(Row(cells=cells) for cells in rows))


def origin_table(path: str, name: str, left_out: str) -> Table:
    """What is known of scores that another tool gave: their file, and what it lacks."""
    rows = [("given by", name), ("scores", path), ("file", f"sha256 {file_digest(Path(path))}")]
    rows += [("left out", left_out)] if left_out else []
    columns = (Column(name="what"), Column(name="which", kind="code"))
    return Table(caption=name, columns=columns, rows=tuple(Row(cells=cells) for cells in rows))


def lineage_section(
    resolved: ResolvedCheckpoint, inputs: SplitInputs, *, mode: str, parameters: Mapping[str, str]
) -> Section:
    """Lineage of a model, with the commands that reproduce training and scoring.

    Args:
        resolved: The scored checkpoint.
        inputs: What it was scored on.
        mode: The mode of the scoring run.
        parameters: The parameters that the scoring run logged.
    """
    trained = resolved.run
    commands = [command_of(mode, parameters)]
    if trained.mode in MODES:
        commands.insert(0, command_of(trained.mode, trained.parameters))
    return Section(
        text=(
            "Run IDs are those of the tracking server. The same data, code and seed give the same figures.",
        ),
        tables=(lineage_table(resolved, inputs, caption="What the scored model follows from"),),
        commands=tuple(commands),
    )


def command_of(mode: str, parameters: Mapping[str, str]) -> str:
    """The `mlflow run` command with every parameter that differs from its default."""
    words = ["mlflow run . --env-manager local", f"-e {mode}"]
    words += [
        f"-P {shlex.quote(f'{spec.name}={parameters[spec.parameter]}')}"
        for spec in describe_fields(MODES[mode])
        if parameters.get(spec.parameter) and not _is_default(spec, parameters[spec.parameter])
        if spec.name not in _PLACES
    ]
    return " ".join(_as_lines(words))


def _is_default(spec: FieldSpec, text: str) -> bool:
    try:
        return spec.parse(text) == spec.default
    except ValueError:  # logged by another version, which had other bounds
        return False


def _as_lines(words: Sequence[str]) -> list[str]:
    """Breaks the command after every third parameter, in shell syntax."""
    return [
        f"\\\n  {word}" if position > 1 and position % 3 == 2 else word for position, word in enumerate(words)
    ]
