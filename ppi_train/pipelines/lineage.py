"""Where a scored model comes from, as a table and as the commands that make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from ppi_train.config.fields import FieldSpec, describe_fields
from ppi_train.config.schema import MODES
from ppi_train.evaluation.report import Column, Row, Section, Table
from ppi_train.pipelines.checkpoints import ResolvedCheckpoint
from ppi_train.pipelines.code_version import code_version
from ppi_train.pipelines.inputs import Inputs

# Where a run writes changes nothing that it finds.
_PLACES = ("output_dir",)


def lineage_table(resolved: ResolvedCheckpoint, inputs: Inputs, *, caption: str) -> Table:
    """Run, ancestors, embedder, data with digests and code of a scored checkpoint."""
    run, description = resolved.run, resolved.read().description
    spec = inputs.cache.spec
    rows = [
        ("model", description["model"]["name"]),
        ("trained by", f"{run.name}, run {run.run_id}"),
        *(("pretrained by", f"run {one}") for one in description.get("lineage", ())),
        ("checkpoint", f"sha256 {resolved.digest}"),
        ("embedder", str(spec.embedder["name"])),
        *([("embedder trained by", f"run {spec.embedder_run_id}")] if spec.embedder_run_id else []),
        ("embeddings", f"sha256 {inputs.cache.digest}"),
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
    return Table(caption=caption, columns=columns, rows=tuple(Row(cells=one) for one in rows))


def lineage_section(
    resolved: ResolvedCheckpoint, inputs: Inputs, *, mode: str, parameters: Mapping[str, str]
) -> Section:
    """The lineage of one model, and the two commands that train and score it again.

    Args:
        resolved: The scored checkpoint.
        inputs: What it was scored on.
        mode: Of the run that scores.
        parameters: As that run has logged them.
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
    """`mlflow run . -e <mode>` with every logged parameter that is not the default."""
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
    except ValueError:  # of another version, which had other bounds
        return False


def _as_lines(words: Sequence[str]) -> list[str]:
    """Long commands are broken after every third parameter, as a shell takes them."""
    return [f"\\\n  {word}" if place > 1 and place % 3 == 2 else word for place, word in enumerate(words)]
