"""Tests of where the study of a sweep is, and who may draw its trials."""

from __future__ import annotations

import itertools
import logging
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import event

from ppi_train.errors import ConfigError
from ppi_train.modes.sweep.searched import Searched
from ppi_train.modes.sweep.space import SearchSpace
from ppi_train.modes.sweep.study import STORAGE_VARIABLE, Study, StudyPlace, TrialResult, locked, place_of
from ppi_train.runs.sweep_options import SweepOptions


def placed(folder: Path, **options: Any) -> StudyPlace:
    return place_of(SweepOptions(study="mine", **options), str(folder), {}, "")


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal:"])
def test_workers_in_any_folder_find_a_relative_file(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert placed(tmp_path, storage=f"{scheme}x/study").address == f"{scheme}{tmp_path}/x/study"


def test_another_database_of_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE_VARIABLE, "mysql://ann:secret@host/db")
    with pytest.raises(ConfigError, match="cannot be kept there") as raised:
        placed(tmp_path)
    assert "secret" not in str(raised.value)


def test_a_journal_is_written_while_it_is_locked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = placed(tmp_path, storage=f"journal:{tmp_path}/study.log")
    optuna.logging.enable_propagation()
    with locked(place), caplog.at_level(logging.WARNING):
        optuna.create_study(study_name="mine", storage=place.storage())
        with pytest.raises(ConfigError, match="another sweep works on this study"), locked(place):
            pass
    optuna.logging.disable_propagation()
    assert not caplog.messages  # Optuna says so when it takes away a lock


def test_a_signal_takes_effect_when_the_query_is_done(tmp_path: Path) -> None:
    """A query that is left half done locks the file of the study, and its end could not be written."""
    place = placed(tmp_path)
    storage = place.storage()
    assert isinstance(storage, RDBStorage)
    begun, done = [], []
    event.listen(storage.engine, "before_cursor_execute", lambda *_: begun.append(1))
    event.listen(storage.engine, "before_cursor_execute", lambda *_: signal.raise_signal(signal.SIGINT))
    event.listen(storage.engine, "after_cursor_execute", lambda *_: done.append(1))
    with pytest.raises(KeyboardInterrupt):
        optuna.create_study(study_name="mine", storage=storage)
    assert len(begun) == len(done) > 0


@pytest.mark.parametrize(
    "name", ["it's mine", "what?x=1", "50%", "a/b", "", " ", "ä", "x" * 101, "..", "a\nb"]
)
def test_names_that_files_addresses_and_tags_do_not_take(name: str) -> None:
    assert SweepOptions(study=name).validate()


@pytest.mark.parametrize("name", ["a", "second try", "lr-1e-3_b.2"])
def test_names_of_studies(name: str) -> None:
    assert not SweepOptions(study=name).validate()


def study_at(place: StudyPlace) -> Study:
    space = SearchSpace(
        sampler="tpe",
        parameters=tuple(
            Searched(name=name, kind="number", low=1e-4, high=1.0) for name in ("learning_rate", "dropout")
        ),
    )
    options = SweepOptions(study="mine", trials=14)
    return Study(place, space, options, model="pooled_mlp", parallel=False)


def told(study: Study, numbers: Iterable[int]) -> None:
    for number in numbers:
        value = study.study.trials[number].params["learning_rate"]
        study.tell(number, TrialResult(state="complete", values=(value,)))


def none_ended(_: object) -> None:
    return None


def kept(study: Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.ended]


@pytest.mark.parametrize(
    "moment", ["while drawing", "while drawing again", "in a trial", "before the end is told"]
)
def test_a_kill_at_any_moment_changes_no_trial(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = study_at(placed(tmp_path / "whole"))
    told(undisturbed, undisturbed.numbers())

    def killed(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    study = study_at(placed(tmp_path / "killed"))
    numbers = study.numbers()
    told(study, itertools.islice(numbers, 11))
    with monkeypatch.context() as patch:
        if moment == "while drawing again":
            next(numbers)
            assert study.end_running(none_ended) == 1
        if moment.startswith("while drawing"):
            suggest = optuna.Trial.suggest_float
            patch.setattr(
                optuna.Trial,
                "suggest_float",
                lambda self, name, *rest, **more: (
                    killed() if name == "dropout" else suggest(self, name, *rest, **more)
                ),
            )
            with pytest.raises(KeyboardInterrupt):
                next(numbers)
        else:
            next(numbers)
        if moment == "before the end is told":
            patch.setattr(study.study, "tell", killed)
            with pytest.raises(KeyboardInterrupt):
                study.end_running(none_ended)
    study = study_at(placed(tmp_path / "killed"))
    assert study.end_running(none_ended) == 1
    told(study, study.numbers())
    assert kept(study) == kept(undisturbed)
    assert len(kept(study)) == 14


@pytest.mark.parametrize(
    ("objective", "values", "expected"),
    [
        (("val/auroc", "weights"), [(0.6, 10), (0.5, 5), (0.9, 20), (0.9, 30), (0.7, 12)], [2, 4, 0, 1]),
        (("val/loss", "seconds"), [(0.6, 10), (0.5, 20), (0.7, 30), (0.5, 20)], [1, 3, 0]),
        (("val/auroc",), [(0.6,), (0.9,), (0.9,)], [1]),
        (("val/auprc_1to100",), [(0.06,), (0.09,), (0.01,)], [1]),
        (("val/loss",), [(0.6,), (0.5,), (0.5,)], [1]),
    ],
)
def test_the_best_by_the_first_objective_is_first(
    objective: tuple[str, ...], values: list[tuple[float, ...]], expected: list[int], tmp_path: Path
) -> None:
    space = SearchSpace(sampler="random", parameters=(Searched(name="seed", kind="integer", high=9),))
    options = SweepOptions(study="mine", trials=len(values), objective=objective)
    study = Study(placed(tmp_path), space, options, model="pooled_mlp", parallel=False)
    assert study.best() == []
    for number, value in zip(study.numbers(), values, strict=False):
        study.tell(number, TrialResult(state="complete", values=value))
    assert [trial.number for trial in study.best()] == expected
