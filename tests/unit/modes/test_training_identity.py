"""Tests of the nearness to training: what is searched for, and what is left unknown and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppi_train.data.fasta import AMINO_ACIDS, sequence_digest
from ppi_train.modes.predict import training_identity as module
from ppi_train.modes.predict.training_identity import TrainingIdentity


def proteins(count: int, length: int = 200) -> list[str]:
    letters = np.random.default_rng(0).integers(0, len(AMINO_ACIDS), (count, length))
    return ["".join(AMINO_ACIDS[number] for number in row) for row in letters]


TRAINED = proteins(4)
# Half of it is a training protein's.
RELATIVE = TRAINED[1][:100] + proteins(6)[5][:100]
STRANGER = proteins(7)[6]
SCORED = [TRAINED[0], RELATIVE, STRANGER, TRAINED[2]]
EVERY = np.arange(len(SCORED))


@pytest.fixture
def identity(tmp_path: Path) -> TrainingIdentity:
    return TrainingIdentity(
        digests=[sequence_digest(sequence) for sequence in SCORED],
        trained=frozenset(map(sequence_digest, TRAINED)),
        sequences={sequence_digest(sequence): sequence for sequence in (*TRAINED, *SCORED)},
        missing=0,
        mode="auto",
        data_dir=tmp_path,
    )


def test_relatives_are_searched_for(identity: TrainingIdentity, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    same, relative, stranger, also_same = identity.of(EVERY).tolist()
    assert same == also_same == 1
    assert relative == pytest.approx(0.5, abs=0.05)
    assert stranger == 0
    assert "2 proteins compared with 4 of training in" in caplog.text


def test_only_what_is_asked_for_is_searched_for(
    identity: TrainingIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert identity.of(np.array([3, 0])).tolist() == [1, 1]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": "equal"}, "training_identity=equal"),
        ({"missing": 7}, "the sequences of 7 training proteins are not there"),
        ({"sequences": {}}, "the others have embeddings, but no sequences"),
    ],
)
def test_without_a_search_only_equal_sequences_are_known(
    changes: dict[str, object], reason: str, identity: TrainingIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = replace(identity, **changes).of(EVERY)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, np.array([1, np.nan, np.nan, 1], np.float32))
    expected = "nearest_training_identity is known only for the 2 of 4 proteins that are in training: "
    assert caplog.messages == [expected + reason]


def test_a_long_search_is_only_done_when_asked_for(
    identity: TrainingIdentity, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "_CHEAP", 7)
    assert np.isnan(identity.of(EVERY)).sum() == 2
    assert "a search for 2 takes minutes; training_identity=search does it" in caplog.text
    assert not np.isnan(replace(identity, mode="search").of(EVERY)).any()
