"""What a run tells the tracking server, as plain records that a journal can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

OWN_MODEL = "own"
"""Stands for the ID of the model that the run logs: the server gives it when the model arrives there."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a metric; `timestamp` in milliseconds since the Unix epoch."""

    name: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Points that are logged together.

    `model` is the ID of a model that they are shown with too, or OWN_MODEL, or empty. `anew` says that
    the run is continued, so that steps which it has already are left out.
    """

    points: tuple[Point, ...]
    model: str = ""
    anew: bool = False


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters by name."""

    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Tags by name."""

    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TrackedDataset:
    """One split that a run reads.

    `context` is `train`, `validation` or `test`; `digest` the sha256 of the content, of which MLflow
    keeps 36 characters; `source` a path or URL; `size` in what `counts` says.
    """

    name: str
    context: str
    digest: str
    source: str
    size: int
    counts: str = "pairs"


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """What a run has read."""

    datasets: tuple[TrackedDataset, ...]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files below a folder of this machine, with the sha256 of each, and where in the artifacts they go.

    The folder, as every path in a journal, is absolute or relative to the folder of the journal.
    """

    folder: str
    artifact_path: str
    digests: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Checkpoints by `best` and `last`: their folders here, their digests, the step of `last`."""

    folders: Mapping[str, str]
    digests: Mapping[str, str]
    step: int
    final: bool


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint to be logged as the run's model; see `logged_model.log_model`.

    `checkpoint` and `embedder` (empty if there is none) are folders, `digests` the sha256 of the files
    in the checkpoint.
    """

    name: str
    checkpoint: str
    digests: Mapping[str, str]
    embedder: str
    scorer: str
    example: Mapping[str, tuple[str, ...]]
    requirements: tuple[str, ...]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of the run: its status, and the time in milliseconds since the Unix epoch."""

    status: str
    time: int


Record: TypeAlias = Metrics | Parameters | Tags | Datasets | Files | Checkpoints | Model | End


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first record of a journal: whose it is.

    `run_id` is an ID of this machine while `offline`: the server gives another one. `journal_id` tells
    the journals of one run from one another. `server` is where an online run was made; `tags` and
    `experiment` (a name, or empty) are for a run that is still to be made.
    """

    run_id: str
    journal_id: str
    offline: bool
    server: str
    started: int
    experiment: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def to_fields(record: Record | Header) -> dict[str, Any]:
    """The record as plain JSON."""
    return asdict(record)


def header_from(fields: Mapping[str, Any]) -> Header:
    """Reads a header.

    Raises:
        ValueError: it is none.
    """
    return Header(
        run_id=_text(fields, "run_id"),
        journal_id=_text(fields, "journal_id"),
        offline=_flag(fields, "offline"),
        server=_text(fields, "server"),
        started=_whole(fields, "started"),
        experiment=_text(fields, "experiment"),
        tags=_texts(fields, "tags"),
    )


def record_from(kind: str, fields: Mapping[str, Any]) -> Record:
    """Reads a record of a kind, `metrics` for Metrics and so on.

    Raises:
        ValueError: it is none.
    """
    read = _READERS.get(kind)
    if read is None:
        raise ValueError(f"no such kind of record: {kind[:40]!r}")
    return read(fields)


def kind_of(record: Record) -> str:
    """The name under which a journal holds a record."""
    return type(record).__name__.lower()


def _metrics(fields: Mapping[str, Any]) -> Metrics:
    points = tuple(
        Point(
            name=_text(one, "name"),
            value=_number(one, "value"),
            timestamp=_whole(one, "timestamp"),
            step=_whole(one, "step"),
        )
        for one in _mappings(fields, "points")
    )
    return Metrics(points=points, model=_text(fields, "model"), anew=_flag(fields, "anew"))


def _datasets(fields: Mapping[str, Any]) -> Datasets:
    texts = ("name", "context", "digest", "source", "counts")
    return Datasets(
        datasets=tuple(
            TrackedDataset(**{name: _text(one, name) for name in texts}, size=_whole(one, "size"))
            for one in _mappings(fields, "datasets")
        )
    )


def _files(fields: Mapping[str, Any]) -> Files:
    digests = _texts(fields, "digests")
    for name in (*digests, _text(fields, "artifact_path")):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"a path leads out of its folder: {name[:80]!r}")
    return Files(
        folder=_text(fields, "folder"), artifact_path=_text(fields, "artifact_path"), digests=digests
    )


def _checkpoints(fields: Mapping[str, Any]) -> Checkpoints:
    folders, digests = _texts(fields, "folders"), _texts(fields, "digests")
    if set(folders) != set(digests) or not set(folders) <= {"best", "last"}:
        raise ValueError(f"checkpoints other than best and last: {sorted({*folders, *digests})[:4]}")
    return Checkpoints(
        folders=folders, digests=digests, step=_whole(fields, "step"), final=_flag(fields, "final")
    )


def _model(fields: Mapping[str, Any]) -> Model:
    example = {str(name): _text_list(column) for name, column in _mapping(fields, "example").items()}
    texts = ("name", "checkpoint", "embedder", "scorer")
    return Model(
        **{name: _text(fields, name) for name in texts},
        digests=_texts(fields, "digests"),
        example=example,
        requirements=_text_list(fields.get("requirements")),
        parameters=_texts(fields, "parameters"),
        tags=_texts(fields, "tags"),
    )


def _end(fields: Mapping[str, Any]) -> End:
    status = _text(fields, "status")
    if status not in ("FINISHED", "FAILED", "KILLED"):
        raise ValueError(f"no such status: {status[:40]!r}")
    return End(status=status, time=_whole(fields, "time"))


_READERS: dict[str, Callable[[Mapping[str, Any]], Record]] = {
    "metrics": _metrics,
    "parameters": lambda fields: Parameters(values=_texts(fields, "values")),
    "tags": lambda fields: Tags(values=_texts(fields, "values")),
    "datasets": _datasets,
    "files": _files,
    "checkpoints": _checkpoints,
    "model": _model,
    "end": _end,
}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    # What a server's 64-bit column takes.
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is no whole number")
    return value


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if not isinstance(value, float):
        raise ValueError(f"{name} is no number")
    return value


def _mapping(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no mapping")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> dict[str, str]:
    value = _mapping(fields, name)
    if not all(isinstance(one, str) for one in value.values()):
        raise ValueError(f"{name} holds other things than text")
    return value


def _text_list(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("expected a list of texts")
    return tuple(value)


def _mappings(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = fields.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{name} is no list of mappings")
    return value
