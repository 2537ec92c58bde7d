"""Tests of checkpoints: round trips, and refusal of altered or executable content."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from ppi_train.checkpoints import (
    DESCRIPTION,
    MARKER,
    TRAINING_STATE,
    WEIGHTS,
    model_from_checkpoint,
    read_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)
from ppi_train.errors import CheckpointError, StorageError
from ppi_train.io.files import file_digest
from ppi_train.models.registry import build_model
from tests.support.faults import fill, mounted_disk

DESCRIBED = {"model": {"name": "pooled_mlp", "input_dim": 3}, "metrics": {"val/auroc": 0.75}}


def _weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 3, generator=generator)
    return {
        "matrix": matrix,
        "turned": matrix.T,
        "half": matrix.to(torch.bfloat16),
        "scalar": torch.tensor(0.1),
        "steps": torch.tensor(7),
        "empty": torch.empty(0, 3),
    }


def _state() -> dict[str, Any]:
    return {
        "epoch": 3,
        "rng": torch.get_rng_state(),
        "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "lr": 0.1},
        "history": [{"epoch": 1.0}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole checkpoint, training state included."""
    path = tmp_path / "checkpoints" / "last"
    write_checkpoint(path, weights=_weights(), description=DESCRIBED, training_state=_state())
    return path


def test_a_wide_model_is_read_again(tmp_path: Path) -> None:
    hyperparameters: dict[str, object] = {"hidden_dim": 8192, "members": 1, "num_layers": 1}
    model = {"name": "pooled_mlp", "input_dim": 3, "hyperparameters": hyperparameters}
    weights = build_model("pooled_mlp", input_dim=3, **hyperparameters).state_dict()
    write_checkpoint(tmp_path / "best", weights=weights, description={**DESCRIBED, "model": model})
    model_from_checkpoint(read_checkpoint(tmp_path / "best"), torch.device("cpu"))


def test_the_memory_of_reference_proteins_is_bounded_by_the_weights_too(tmp_path: Path) -> None:
    """1.5 million numbers of a protein's state, 6 MB of weights, would take 768 MB for 128 proteins."""
    hyperparameters = {"hidden_dim": 1_500_000, "head_dim": 1, "members": 1, "num_layers": 1}
    model = {"name": "pooled_mlp", "input_dim": 1, "hyperparameters": hyperparameters}
    write_checkpoint(tmp_path / "best", weights=_weights(), description={**DESCRIBED, "model": model})
    with pytest.raises(CheckpointError, match="201,000,007 weights, of which 38 are there"):
        model_from_checkpoint(read_checkpoint(tmp_path / "best"), torch.device("cpu"))


def _message(folder: Path, *, with_training_state: bool = False) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(folder, with_training_state=with_training_state)
    return str(caught.value)


def _forge(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file and makes the marker agree, as somebody with the folder in hand can."""
    (folder / name).write_bytes(content)
    digests = json.loads((folder / MARKER).read_text())
    (folder / MARKER).write_text(json.dumps({**digests, name: file_digest(folder / name)}))


def test_everything_reads_back(folder: Path) -> None:
    loaded = read_checkpoint(folder, with_training_state=True)
    expected = _weights()
    assert loaded.weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (loaded.weights[name].dtype, loaded.weights[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(loaded.weights[name], tensor)
    assert loaded.description == {"format_version": 1, **DESCRIBED}
    assert loaded.training_state is not None
    assert torch.equal(loaded.training_state["rng"], _state()["rng"])
    assert loaded.training_state["optimizer"] == _state()["optimizer"]
    assert loaded.training_state["history"] == [{"epoch": 1.0}]


def test_the_training_state_is_read_only_where_asked_for_and_there(tmp_path: Path, folder: Path) -> None:
    assert read_checkpoint(folder).training_state is None
    write_checkpoint(tmp_path / "best", weights=_weights(), description=DESCRIBED)
    assert read_checkpoint(tmp_path / "best", with_training_state=True).training_state is None
    assert verify_checkpoint(tmp_path / "best").keys() == {WEIGHTS, DESCRIPTION}


def test_a_new_checkpoint_takes_the_place_of_the_old_one(folder: Path) -> None:
    write_checkpoint(folder, weights={"one": torch.ones(1)}, description={"counters": {"epoch": 2}})
    loaded = read_checkpoint(folder, with_training_state=True)
    assert loaded.weights == {"one": torch.ones(1)}
    assert loaded.description["counters"] == {"epoch": 2}
    assert loaded.training_state is None
    assert [path.name for path in folder.parent.iterdir()] == ["last"]


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION, TRAINING_STATE])
@pytest.mark.parametrize("place", [0, -1])
def test_one_changed_byte_names_the_file(folder: Path, name: str, place: int) -> None:
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 1
    (folder / name).write_bytes(content)
    message = _message(folder)
    assert "a file of the checkpoint was altered after it was written" in message
    assert f"where: {folder / name}" in message
    assert f"got: sha256 {file_digest(folder / name)}" in message
    assert "take another checkpoint, or train again" in message


def test_without_its_marker_it_is_no_checkpoint(folder: Path) -> None:
    (folder / MARKER).unlink()
    message = _message(folder)
    assert f"there is no finished checkpoint\n  where: {folder}" in message
    assert "a folder with COMPLETE.json, which is written last" in message


@pytest.mark.parametrize("marker", [b"", b"{", b"3", b"[1, 2]", b'["ab", 3]', b"\xff", pickle.dumps({})])
def test_a_marker_that_is_none_of_ours(folder: Path, marker: bytes) -> None:
    (folder / MARKER).write_bytes(marker)
    message = _message(folder)
    assert f"the checkpoint is not one of ours: its {MARKER} cannot be read\n  where: {folder}" in message
    assert "take another checkpoint, or train again" in message


def test_an_absent_folder(tmp_path: Path) -> None:
    assert f"there is no finished checkpoint\n  where: {tmp_path / 'none'}" in _message(tmp_path / "none")


def test_files_other_than_those_of_the_marker(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"x")
    message = _message(folder)
    assert "it holds other files than its marker names" in message
    assert "got: checkpoint.json, model.pkl, training_state.pt, weights.safetensors" in message
    assert "expected: checkpoint.json, training_state.pt, weights.safetensors" in message


def test_a_file_of_the_marker_that_is_absent_or_a_folder(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "got: checkpoint.json, training_state.pt\n" in _message(folder)
    (folder / WEIGHTS).mkdir()
    assert "it holds other files than its marker names" in _message(folder)


def test_a_marker_does_not_make_another_file_ours(folder: Path) -> None:
    _forge(folder, "model.pkl", pickle.dumps([1]))
    message = _message(folder)
    assert "the checkpoint is not one of ours" in message
    assert "got: checkpoint.json, model.pkl, training_state.pt" in message


@pytest.mark.parametrize("name", ["../evil", "model.pkl", "/etc/hostname", ""])
def test_a_marker_cannot_name_files_of_other_kinds(folder: Path, name: str) -> None:
    (folder.parent / "evil").write_bytes(b"x")
    digests = {**json.loads((folder / MARKER).read_text()), name: file_digest(folder.parent / "evil")}
    (folder / MARKER).write_text(json.dumps(digests))
    message = _message(folder)
    assert "the checkpoint is not one of ours" in message
    assert "expected: checkpoint.json, training_state.pt, weights.safetensors" in message


class _WritesWhenLoaded:
    """Unpickling one makes a folder: the proof that a loader ran its code."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._target),)


def _plain_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def _torch_pickle(path: Path, content: object) -> None:
    torch.save(content, path)


@pytest.mark.parametrize("save", [_plain_pickle, _torch_pickle])
def test_a_pickle_as_training_state_does_not_run(
    tmp_path: Path, folder: Path, save: Callable[[Path, object], None]
) -> None:
    target = tmp_path / "made"
    save(tmp_path / "pickle", {"epoch": _WritesWhenLoaded(target)})
    _forge(folder, TRAINING_STATE, (tmp_path / "pickle").read_bytes())
    message = _message(folder, with_training_state=True)
    assert not target.exists()
    assert "the checkpoint is not one of ours: its training state cannot be read" in message
    assert f"where: {folder / TRAINING_STATE}" in message
    assert "a mapping of tensors, numbers and text" in message
    # torch's own message advises to load the file all the same.
    assert "weights_only" not in message
    # The pickle is live: a loader that trusted it would have run it.
    with contextlib.suppress(RuntimeError):
        torch.load(folder / TRAINING_STATE, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", pickle.dumps([1], protocol=2)])
def test_a_training_state_that_is_none(folder: Path, content: bytes) -> None:
    _forge(folder, TRAINING_STATE, content)
    assert "its training state cannot be read" in _message(folder, with_training_state=True)


def test_a_pickle_as_weights_does_not_run(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "made"
    _torch_pickle(tmp_path / "pickle", {"matrix": _WritesWhenLoaded(target)})
    _forge(folder, WEIGHTS, (tmp_path / "pickle").read_bytes())
    assert f"the checkpoint is not one of ours: it cannot be read\n  where: {folder}" in _message(folder)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "the checkpoint is not one of ours: it cannot be read"),
        ("[" * 100_000, "the checkpoint is not one of ours: it cannot be read"),
        ("[]", "got: format_version None\n  expected: 1"),
        ("{}", "got: format_version None\n  expected: 1"),
        ('{"format_version": 2}', "got: format_version 2\n  expected: 1"),
    ],
)
def test_a_description_that_is_not_of_this_version(folder: Path, content: str, message: str) -> None:
    _forge(folder, DESCRIPTION, content.encode())
    assert message in _message(folder)


class _InterruptsWhenSaved:
    def __reduce__(self) -> NoReturn:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"training_state": {"epoch": _InterruptsWhenSaved()}}, KeyboardInterrupt),
        ({"description": {"metrics": {1, 2}}}, TypeError),
    ],
)
def test_an_interrupted_writing_leaves_the_older_checkpoint(
    folder: Path, changes: Mapping[str, Any], error: type[BaseException]
) -> None:
    new: dict[str, Any] = {"weights": {"one": torch.ones(1)}, "description": {}, **changes}
    with pytest.raises(error):
        write_checkpoint(folder, **new)
    loaded = read_checkpoint(folder, with_training_state=True)
    assert loaded.weights.keys() == _weights().keys()
    assert loaded.training_state is not None
    assert [path.name for path in folder.parent.iterdir()] == ["last"]


@pytest.mark.parametrize(("metrics", "expected"), [({"val/temperature": 1.7}, 1.7), ({}, 1.0), (None, 1.0)])
def test_the_temperature_is_1_where_none_was_fitted(
    tmp_path: Path, metrics: dict[str, float] | None, expected: float
) -> None:
    description = {} if metrics is None else {"metrics": metrics}
    write_checkpoint(tmp_path / "best", weights=_weights(), description=description)
    assert read_checkpoint(tmp_path / "best").temperature == expected


@pytest.mark.parametrize(
    ("metrics", "expected"), [({"val/prevalence": 0.25}, 0.25), ({}, None), (None, None), ([], None)]
)
def test_the_share_of_interacting_pairs_that_it_was_calibrated_on(
    tmp_path: Path, metrics: object, expected: float | None
) -> None:
    description = {} if metrics is None else {"metrics": metrics}
    write_checkpoint(tmp_path / "best", weights=_weights(), description=description)
    assert read_checkpoint(tmp_path / "best").prevalence == expected


@pytest.mark.parametrize("found", [0, -1.0, float("nan"), float("inf"), 10**400, "2", None])
def test_a_temperature_that_divides_nothing_is_refused(tmp_path: Path, found: object) -> None:
    write_checkpoint(
        tmp_path / "best", weights=_weights(), description={"metrics": {"val/temperature": found}}
    )
    with pytest.raises(CheckpointError, match="a temperature that no logit can be divided by"):
        _ = read_checkpoint(tmp_path / "best").temperature


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    weights = {"encoder.bias": torch.zeros(3), "head.bias": torch.tensor([0.0, value])}
    write_checkpoint(tmp_path / "best", weights=weights, description=DESCRIBED)
    assert "got: 1 of 2 tensors, such as head.bias" in _message(tmp_path / "best")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_who_may_read_a_checkpoint_is_what_the_umask_says(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_checkpoint(
            tmp_path / "last", weights=_weights(), description=DESCRIBED, training_state=_state()
        )
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "last").iterdir()}
    assert len(modes) == 4
    assert set(modes.values()) == {0o666 & ~umask}
    assert (tmp_path / "last").stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("free", [0, 4096, 300_000])
def test_a_full_disk_is_told_and_leaves_the_older_checkpoint(tmp_path: Path, free: int) -> None:
    # With no byte free, and with room for some of the files.
    with mounted_disk(tmp_path / "disk", "8m") as disk:
        folder = disk / "last"
        state = {"momentum": torch.zeros(100_000)}
        write_checkpoint(folder, weights=_weights(), description=DESCRIBED, training_state=state)
        before = verify_checkpoint(folder)
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - free)
        weights = {"matrix": torch.ones(20_000)}
        with pytest.raises(StorageError, match="there is no room on the disk for a checkpoint"):
            write_checkpoint(folder, weights=weights, description=DESCRIBED, training_state=state)
        assert verify_checkpoint(folder) == before
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "last"]
        filler.unlink()
        write_checkpoint(folder, weights=weights, description=DESCRIBED, training_state=state)
        assert verify_checkpoint(folder) != before
