"""Fuzz tests of the four checkpoint files.

The marker either has the digests of the damaged files, as an attacker would arrange, or it does not.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

from ppi_train.checkpoints import (
    DESCRIPTION,
    MARKER,
    TRAINING_STATE,
    WEIGHTS,
    model_from_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from ppi_train.io.files import file_digest
from ppi_train.models.registry import build_model
from ppi_train.tracking.artifacts import StoredCheckpoints
from tests.support.mutations import broken, broken_json
from tests.support.watched import outcome

pytestmark = pytest.mark.slow

SHAPE = {"hidden_dim": 4, "head_dim": 4, "members": 2}


def write_whole(folder: Path) -> None:
    """A checkpoint of a small model, with the training state of its optimiser."""
    torch.manual_seed(0)
    model = build_model("pooled_mlp", input_dim=3, **SHAPE)
    optimizer = torch.optim.AdamW(model.parameters())
    write_checkpoint(
        folder,
        weights=model.state_dict(),
        description={
            "model": {"name": "pooled_mlp", "input_dim": 3, "hyperparameters": SHAPE},
            "config": {"epochs": 3},
            "embedding": {"recipe": {"dimension": 3}, "dtype": "float32", "digest": "0" * 64},
            "counters": {"epoch": 1, "step": 7},
            "metrics": {"val/auroc": 0.75},
        },
        training_state={"optimizer": optimizer.state_dict(), "rng": torch.get_rng_state(), "epoch": 1},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a checkpoint's files by name."""
    folder = tmp_path_factory.mktemp("whole") / "last"
    write_whole(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def use(folder: Path) -> None:
    """What resuming and scoring do with a checkpoint, up to the data."""
    checkpoint = read_checkpoint(folder, with_training_state=True)
    assert checkpoint.step >= 0
    model_from_checkpoint(checkpoint, torch.device("cpu"))


def lay(folder: Path, files: dict[str, bytes], *, vouched: bool) -> None:
    """Writes the files; `vouched`: the marker has their digests, as whoever means harm would see to."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if vouched:
        digests = {name: file_digest(folder / name) for name in files if name != MARKER}
        (folder / MARKER).write_text(json.dumps(digests))


def test_a_whole_one_is_used(folder: Path, whole: dict[str, bytes]) -> None:
    lay(folder, whole, vouched=True)
    assert outcome(lambda: use(folder)) is None


@pytest.mark.parametrize("vouched", [False, True])
@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION, TRAINING_STATE, MARKER])
def test_bytes(folder: Path, whole: dict[str, bytes], name: str, vouched: bool) -> None:
    if name == MARKER and vouched:
        return

    @given(content=broken([whole[name]], [b'"F4"', b"[", b'{"', b'"dtype"']))
    def damaged(content: bytes) -> None:
        lay(folder, {**whole, name: content}, vouched=vouched)
        outcome(lambda: use(folder))

    damaged()


def test_description(folder: Path, whole: dict[str, bytes]) -> None:
    @given(
        content=broken_json(json.loads(whole[DESCRIPTION]), ["v3", "contact_map", "pair_transformer", 3, 4])
    )
    def strange(content: Any) -> None:
        lay(folder, {**whole, DESCRIPTION: json.dumps(content).encode()}, vouched=True)
        outcome(lambda: use(folder))

    strange()


def test_marker(folder: Path, whole: dict[str, bytes]) -> None:
    @given(content=broken_json(json.loads(whole[MARKER]), ["../x", "/etc/passwd"]))
    def strange(content: Any) -> None:
        lay(folder, {**whole, MARKER: json.dumps(content).encode()}, vouched=False)
        outcome(lambda: use(folder))

    strange()


def test_header_of_weights(folder: Path, whole: dict[str, bytes]) -> None:
    size = int.from_bytes(whole[WEIGHTS][:8], "little")
    header = json.loads(whole[WEIGHTS][8 : 8 + size])

    @given(
        content=broken_json(header, ["F32", "F64", "I8", "F4", "BF16", [2**40, 2**40], [0, 2**62], [0, 8]])
    )
    def strange(content: Any) -> None:
        text = json.dumps(content).encode()
        data = len(text).to_bytes(8, "little") + text + whole[WEIGHTS][8 + size :]
        lay(folder, {**whole, WEIGHTS: data}, vouched=True)
        outcome(lambda: use(folder))

    strange()


def test_pickle_of_training_state(folder: Path, whole: dict[str, bytes]) -> None:
    """The program inside the archive damaged, and the archive made anew around it."""
    with zipfile.ZipFile(io.BytesIO(whole[TRAINING_STATE])) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (program,) = [name for name in entries if name.endswith("data.pkl")]
    words = [
        b"R",
        b"}",
        b"]",
        b"(",
        b"t",
        b"\x85",
        b"cbuiltins\nbytearray\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n",
        b"\x8a\x08" + b"\x7f" * 8,
        b"J\xff\xff\xff\x7f",
        b"Q",
        b"b",
        b"K\x00",
    ]

    @given(content=broken([entries[program]], words))
    def damaged(content: bytes) -> None:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            for name, data in {**entries, program: content}.items():
                archive.writestr(name, data)
        lay(folder, {**whole, TRAINING_STATE: sink.getvalue()}, vouched=True)
        outcome(lambda: use(folder))

    damaged()


def test_tag() -> None:
    """The tag that says which checkpoint of a run counts."""
    stored = StoredCheckpoints(folder="checkpoints", step=3, digests={"best": "0" * 64})

    @given(content=broken([stored.to_tag().encode()], [b"[" * 3000]))
    def damaged(content: bytes) -> None:
        outcome(lambda: StoredCheckpoints.from_tag(content.decode("utf-8", "surrogateescape")))

    damaged()
