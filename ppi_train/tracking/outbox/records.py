"""What a run tells the tracking server, as plain records that an outbox can hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

OWN_MODEL = "own"
"""Stands for the ID of the model that the run logs: the server gives it when the model arrives there."""


def _storable(value: object) -> object:
    # Bytes of a file name that are not text, which Python keeps as lone surrogates, have no place in JSON,
    # and NUL has none in PostgreSQL.
    if isinstance(value, str) and (not value.isascii() or "\0" in value):
        return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    return value


Text: TypeAlias = Annotated[str, BeforeValidator(_storable)]
Texts: TypeAlias = Mapping[Text, Text]
# What a 64-bit column of a server takes.
Whole: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63)]


# Of exact types; as JSON they keep NaN and infinity.
_CONFIG = ConfigDict(strict=True, extra="forbid", ser_json_inf_nan="constants")


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Point:
    """One value of a metric; `timestamp` in milliseconds since the Unix epoch."""

    name: Text
    value: float
    timestamp: Whole
    step: Whole


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Metrics:
    """Points that are logged together.

    `model` is the ID of a model that they are shown with too, or OWN_MODEL, or empty; `dataset` and
    `dataset_digest` name the data that they were measured on, or are empty. With `skip_known_steps`, for a
    run that is continued, steps that the run has already are left out.
    """

    kind: Literal["metrics"] = "metrics"
    points: tuple[Point, ...]
    model: Text = ""
    dataset: Text = ""
    dataset_digest: Text = ""
    skip_known_steps: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Parameters:
    """Parameters by name."""

    kind: Literal["parameters"] = "parameters"
    values: Texts


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Tags:
    """Tags by name."""

    kind: Literal["tags"] = "tags"
    values: Texts


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class TrackedDataset:
    """One split that a run reads.

    `context` is `train`, `validation` or `test`; `digest` the sha256 of the content, of which MLflow
    keeps 36 characters; `source` a path or URL; `size` in what `counts` says.
    """

    name: Text
    context: Text
    digest: Text
    source: Text
    size: Whole
    counts: Text = "pairs"


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Datasets:
    """What a run has read."""

    kind: Literal["datasets"] = "datasets"
    datasets: tuple[TrackedDataset, ...]


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Files:
    """Files below a folder of this machine, with their sha256, and their place in the artifacts.

    The folder, as every path in an outbox, is absolute or relative to the folder of the outbox.
    """

    kind: Literal["files"] = "files"
    folder: Text
    artifact_path: Text
    digests: Texts

    @model_validator(mode="after")
    def _stay_below_the_folder(self) -> Self:
        for name in (*self.digests, self.artifact_path):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"a path leads out of its folder: {name[:80]!r}")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Checkpoints:
    """Checkpoints by `best` and `last`: their folders here, their digests, the step of `last`."""

    kind: Literal["checkpoints"] = "checkpoints"
    folders: Texts
    digests: Texts
    step: Whole
    final: bool

    @model_validator(mode="after")
    def _name_the_same(self) -> Self:
        if set(self.folders) != set(self.digests) or not set(self.folders) <= {"best", "last"}:
            raise ValueError("checkpoints other than best and last")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Model:
    """A checkpoint to be logged as the run's model; see `log_model` in `tracking.model.log`.

    `checkpoint` and `embedder` (empty if there is none) are folders, `digests` the sha256 of the files
    in the checkpoint.
    """

    kind: Literal["model"] = "model"
    name: Text
    checkpoint: Text
    digests: Texts
    embedder: Text
    scorer: Text
    example: Mapping[Text, tuple[Text, ...]]
    requirements: tuple[Text, ...]
    parameters: Texts
    tags: Texts


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class End:
    """The end of the run: its status, and the time in milliseconds since the Unix epoch."""

    kind: Literal["end"] = "end"
    status: Literal["FINISHED", "FAILED", "KILLED"]
    time: Whole


Record: TypeAlias = Metrics | Parameters | Tags | Datasets | Files | Checkpoints | Model | End


@dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class Header:
    """Whose an outbox is.

    `run_id` is an ID of this machine while `offline`: the server gives another one. `journal_id` tells
    the outboxes of one run from one another. `server` is where an online run was made; `tags` and
    `experiment` (a name, or empty) are for a run that is still to be made.
    """

    run_id: Text
    journal_id: Text
    offline: bool
    server: Text
    started: Whole
    experiment: Text = ""
    tags: Texts = Field(default_factory=dict)


_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")], config=_CONFIG)
_HEADER = TypeAdapter(Header)


def record_to_json(record: Record) -> bytes:
    """The record as JSON."""
    return _RECORD.dump_json(record)


def record_from_json(content: bytes) -> Record:
    """Reads a record.

    Raises:
        ValueError: it is not one.
    """
    return _RECORD.validate_json(content)


def header_to_json(header: Header) -> bytes:
    """The header as JSON."""
    return _HEADER.dump_json(header)


def header_from_json(content: bytes) -> Header:
    """Reads a header.

    Raises:
        ValueError: it is not one.
    """
    return _HEADER.validate_json(content)
