"""The study of a sweep: where Optuna keeps it, what it is of, its trials and their states."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import optuna
import psutil
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ppi_train.errors import ConfigError, StorageError, first_line
from ppi_train.io.terminal import signals_deferred
from ppi_train.modes.sweep.searched import Stored, stored
from ppi_train.modes.sweep.space import SearchSpace
from ppi_train.runs.sweep_options import SCHEMES, SweepOptions

logger = logging.getLogger(__name__)

# SQLite locks files in ways that disks of other machines do not keep.
_NETWORK_DISKS = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.sshfs", "afs")
STORAGE_VARIABLE = "PPI_TRAIN_STORAGE"
_IDENTITY, _SWEEPS = "ppi.identity", "ppi.sweeps"
PARAMETERS, RUN_ID, REASON, SECONDS, RESULT = "parameters", "run_id", "reason", "seconds", "result"
# A trial whose worker was lost, and the number of the lost trial in the one that tries its parameters again.
LOST, AGAIN = "lost", "again"
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The end of a trial: its state, and what follows from it.

    A `lost` trial is one whose worker was lost. `values` are those of the objectives of a complete trial;
    `reason` is that of a failed one.
    """

    state: Literal["complete", "pruned", "failed", "lost"]
    run_id: str = ""
    values: tuple[float, ...] = ()
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StudyPlace:
    """Where a study is: the address of its storage, and its name.

    `sweep` is the run that uses it: for a later one in this process, the file may be another.
    """

    address: str
    name: str
    sweep: str = ""

    def storage(self) -> BaseStorage:
        return _storage(self.address, self.sweep)

    @lru_cache(maxsize=8)  # noqa: B019 - of a place, which is a constant of the process
    def trial_id(self, number: int) -> int:
        """The storage's ID of a trial."""
        storage = self.storage()
        return storage.get_trial_id_from_study_id_trial_number(
            storage.get_study_id_from_name(self.name), number
        )


class _WholeCalls:
    """A storage whose calls no signal interrupts.

    A connection to SQLite that was left within a query keeps its lock while the exception is on its way, and
    the end of the sweep, which writes what became of its trials, would wait for it in vain.
    """

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return signals_deferred()(found) if inspect.ismethod(found) else found


class _WholeDatabase(_WholeCalls, RDBStorage):
    pass


class _WholeJournal(_WholeCalls, JournalStorage):
    pass


@lru_cache(maxsize=2)
def _storage(address: str, _sweep: str) -> BaseStorage:
    kind, _, path = address.partition(":")
    if kind == "journal":
        return _WholeJournal(JournalFileBackend(path))
    waiting = {"timeout": 120} if kind == "sqlite" else {}  # seconds until "database is locked"
    return _WholeDatabase(address, engine_kwargs={"connect_args": waiting})


def place_of(
    options: SweepOptions, data_dir: str, identity: Mapping[str, object], label: str, sweep: str = ""
) -> StudyPlace:
    """Where the study of a sweep is; by default a file of its own in `data_dir`.

    Raises:
        ConfigError: the storage of the environment is of a kind that is not known.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    name = options.study or f"{label}-{digest[:8]}"
    if address := options.storage or os.environ.get(STORAGE_VARIABLE):
        return StudyPlace(address=_usable(address), name=name, sweep=sweep)
    folder = (Path(data_dir) / "sweeps").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.{'log' if is_network_disk(folder) else 'db'}"
    scheme = "journal:" if file.suffix == ".log" else "sqlite:///"
    return StudyPlace(address=f"{scheme}{file}", name=name, sweep=sweep)


def _usable(address: str) -> str:
    """An address that workers in any folder understand."""
    scheme = next((scheme for scheme in SCHEMES if address.startswith(scheme)), None)
    if scheme is None:
        raise ConfigError(
            "the study cannot be kept there",
            got=address.partition(":")[0],
            remedy=f"give sqlite:///FILE, journal:FILE or postgresql://... as storage= or {STORAGE_VARIABLE}",
        )
    if scheme.startswith("postgresql"):
        return address
    return f"{scheme}{Path(address.removeprefix(scheme)).absolute()}"


def is_network_disk(folder: Path) -> bool:
    """Whether a folder is on a disk of another machine."""
    mounted = {Path(disk.mountpoint): disk.fstype for disk in psutil.disk_partitions(all=True)}
    here = folder.resolve()
    kind = next((mounted[path] for path in (here, *here.parents) if path in mounted), "")
    return kind.lower().startswith(_NETWORK_DISKS)


class Study:
    """A study of which this process alone draws the trials.

    Args:
        place: Where it is.
        space: What is searched.
        options: Objectives, pruner and seed.
        model: The model of the command, for a space that does not search it.
        parallel: Whether several trials run at a time.
    """

    def __init__(
        self, place: StudyPlace, space: SearchSpace, options: SweepOptions, *, model: str, parallel: bool
    ) -> None:
        self.place, self._space, self._options = place, space, options
        self._model, self._parallel = model, parallel
        self._grid = space.grid(model) if space.sampler == "grid" else []
        self.study = optuna.create_study(
            storage=place.storage(),
            study_name=place.name,
            directions=[direction_of(name) for name in options.objective],
            load_if_exists=True,
        )

    def check_identity(self, identity: Mapping[str, object]) -> None:
        """Records what the study is of, or compares it.

        Raises:
            ConfigError: it is a study of something else; with what differs.
        """
        recorded = self.study.user_attrs.get(_IDENTITY)
        if recorded is None:
            self.study.set_user_attr(_IDENTITY, dict(identity))
        elif recorded != json.loads(json.dumps(identity)):
            raise ConfigError(
                "the study is of another search",
                where=f"study {self.place.name}",
                got="; ".join(differences(recorded, identity)),
                remedy="give what it was started with, or another name: study=NAME",
            )

    def parents(self, run_id: str, experiment_id: str) -> list[tuple[str, str]]:
        """The runs of sweeps that worked on the study before, with their experiments; this one is added."""
        earlier: list[list[str]] = self.study.user_attrs.get(_SWEEPS, [])
        self.study.set_user_attr(_SWEEPS, [*earlier, [run_id, experiment_id]])
        return [(earlier_id, experiment) for earlier_id, experiment in earlier]

    @property
    def ended(self) -> list[FrozenTrial]:
        """The trials that have ended, without those that were lost."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state.is_finished() and not is_lost(trial)]

    @property
    def failures(self) -> Counter[str]:
        """How often trials failed for each reason."""
        return Counter(
            str(trial.user_attrs.get(REASON)) for trial in self.ended if trial.state == TrialState.FAIL
        )

    @property
    def size(self) -> int:
        """The trials that the study is to have."""
        return min(self._options.trials, len(self._grid)) if self._grid else self._options.trials

    def numbers(self) -> Iterator[int]:
        """Draws trials until those that ended and those that run are as many as asked for."""
        while True:
            trials = [trial for trial in self.study.get_trials(deepcopy=False) if not is_lost(trial)]
            waiting = sum(trial.state == TrialState.WAITING for trial in trials)
            if len(trials) - waiting >= self.size:
                return
            # What is drawn depends on the seed and the trials before, not on when they were interrupted.
            self.study.sampler = self._sampler(len(trials))
            if self._grid and not waiting:
                self.study.enqueue_trial(self._next_of_grid(trials))
            yield self._draw()

    def _draw(self) -> int:
        trial = self.study.ask()
        parameters = self._space.suggest(trial, self._model)
        trial.set_user_attr(PARAMETERS, parameters)
        return trial.number

    def _next_of_grid(self, trials: Sequence[FrozenTrial]) -> dict[str, Stored]:
        used = [trial.params for trial in trials]
        points = ({name: stored(value) for name, value in point.items()} for point in self._grid)
        return next(point for point in points if point not in used)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        drawn = np.random.SeedSequence((self._options.search_seed, number)).generate_state(1)
        seed = int(drawn[0])
        if self._space.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=self._parallel)
        return optuna.samplers.RandomSampler(seed=seed)

    def tell(self, number: int, result: TrialResult) -> None:
        """Records the end of a trial; a lost one will be tried again with its parameters."""
        if result.state == "lost":
            self._again(number)
            return
        trial_id, storage = self.place.trial_id(number), self.place.storage()
        told = {SECONDS: result.seconds} | ({REASON: result.reason} if result.reason else {})
        for name, value in told.items():
            storage.set_trial_user_attr(trial_id, name, value)
        self.study.tell(number, list(result.values) or None, state=STATES[result.state])

    def _again(self, number: int) -> None:
        """Ends a trial as lost, after its parameters are kept for the next: a kill between loses nothing.

        One that was lost while its parameters were drawn has none to keep, unless they were fixed before it,
        and the next draws the same.
        """
        trials = self.study.get_trials(deepcopy=False)
        is_kept = any(trial.user_attrs.get(AGAIN) == number for trial in trials)
        lost = trials[number]
        parameters = lost.params if PARAMETERS in lost.user_attrs else lost.system_attrs.get("fixed_params")
        if parameters is not None and not is_kept:
            self.study.enqueue_trial(parameters, user_attrs={AGAIN: number})
        self.place.storage().set_trial_user_attr(self.place.trial_id(number), LOST, True)
        self.study.tell(number, state=TrialState.FAIL)

    def end_running(self, ended: Callable[[FrozenTrial], TrialResult | None]) -> int:
        """Ends the trials whose processes are gone; returns how many of them are to be tried again.

        Args:
            ended: The result of a trial whose run had ended before the process was gone.
        """
        running = self.study.get_trials(states=(TrialState.RUNNING,))
        lost = 0
        for trial in running:
            result = ended(trial) or TrialResult(state="lost")
            self.tell(trial.number, result)
            lost += result.state == "lost"
        return lost

    def retrained(self, winner: int, seed: int) -> tuple[str, float] | None:
        """The run and the objective of an earlier training of the winner with another seed."""
        found: tuple[str, float] | None = self.study.user_attrs.get(f"retrained-{winner}-{seed}")
        return found

    def set_retrained(self, winner: int, seed: int, run_id: str, value: float) -> None:
        self.study.set_user_attr(f"retrained-{winner}-{seed}", (run_id, value))

    def best(self) -> list[FrozenTrial]:
        """The best trial, or those that no other beats in both objectives, as the page has them.

        The best by the first objective is first, of equal ones the earliest; empty if none is complete.
        """
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        two = len(self._options.objective) > 1
        ranked = in_order(self.study.best_trials if two else complete, self._options.objective[0])
        return ranked if two else ranked[:1]


def in_order(trials: Iterable[FrozenTrial], objective: str) -> list[FrozenTrial]:
    """Finished trials, the best by their first objective first, of equal ones the earliest."""
    sign = -1 if direction_of(objective) == "maximize" else 1
    return sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))


def is_lost(trial: FrozenTrial) -> bool:
    """Whether the worker of a trial was lost."""
    return bool(trial.user_attrs.get(LOST))


def direction_of(objective: str) -> Literal["maximize", "minimize"]:
    """Whether more of an objective is better."""
    return "maximize" if objective in ("val/auroc", "val/auprc", "val/auprc_1to100") else "minimize"


def pruner_of(name: str, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner of a name; epochs are its steps."""
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(epochs, 2))
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)


@contextmanager
def locked(place: StudyPlace) -> Iterator[None]:
    """Makes this process the only one that draws the trials of a study.

    Raises:
        ConfigError: another sweep works on the study, or the storage is the database of MLflow.
        StorageError: the storage cannot be used.
    """
    if place.address.startswith("postgresql"):
        with _database_lock(place):
            yield
        return
    kind, _, path = place.address.partition(":")
    file = Path(path.removeprefix("///") if kind == "sqlite" else path)
    if kind == "sqlite" and file.exists():
        _refuse_of_mlflow(sqlalchemy.create_engine(place.address), place)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not `.lock`, which is the name of the lock that Optuna takes for each line of a journal.
    with file.with_name(f"{file.name}.owner").open("a+") as lock:
        _lock(lock, place)
        yield


def _lock(lock: IO[str], place: StudyPlace) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use_error(place) from None


@contextmanager
def _database_lock(place: StudyPlace) -> Iterator[None]:
    number = int.from_bytes(hashlib.sha256(place.name.encode()).digest()[:7])
    engine = sqlalchemy.create_engine(place.address)
    try:
        with engine.connect() as connection:
            _refuse_of_mlflow(engine, place)
            taken = connection.execute(sqlalchemy.text(f"SELECT pg_try_advisory_lock({number})")).scalar()
            if not taken:
                raise _in_use_error(place)
            yield
    except SQLAlchemyError as error:
        raise StorageError(
            "the storage of the study cannot be used", got=first_line(error), remedy="check storage="
        ) from None
    finally:
        engine.dispose()


def _refuse_of_mlflow(engine: sqlalchemy.Engine, place: StudyPlace) -> None:
    """Optuna and MLflow keep the revision of their tables under the same name, and shut each other out."""
    tables = sqlalchemy.inspect(engine).get_table_names()
    if "alembic_version" in tables and "studies" not in tables:
        raise ConfigError(
            "the storage of the study is the database of something else, such as MLflow's",
            where=f"study {place.name}",
            remedy="give a database of its own, or leave storage out for a file in data_dir",
        )


def _in_use_error(place: StudyPlace) -> ConfigError:
    return ConfigError(
        "another sweep works on this study",
        where=f"study {place.name}",
        remedy="wait until it ends, or give workers to that one; or give another name: study=NAME",
    )


def differences(recorded: Mapping[str, Any], asked: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs between two nested descriptions, a line each."""
    found = []
    for name in sorted(recorded.keys() | asked.keys()):
        before, now = recorded.get(name), json.loads(json.dumps(asked.get(name)))
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += differences(before, now, f"{path}{name}.")
        else:
            found.append(f"{path}{name}: {json.dumps(now)}, and the study has {json.dumps(before)}")
    return found
