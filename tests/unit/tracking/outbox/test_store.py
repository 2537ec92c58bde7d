"""Tests of a run's outbox: power cuts, bad disks, and tampering."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ppi_train.errors import JournalError, TrackingError
from ppi_train.tracking.outbox.records import (
    Checkpoints,
    Datasets,
    End,
    Files,
    Header,
    Metrics,
    Model,
    Parameters,
    Point,
    Record,
    Tags,
    TrackedDataset,
)
from ppi_train.tracking.outbox.store import LEGACY_NAME, NAME, Store

LEGACY = Path(__file__).parents[3] / "data" / "version_0_2" / LEGACY_NAME

HEADER = Header(run_id="a" * 32, journal_id="b", offline=False, server="http://server", started=1)
POINT = Point(name="val/auroc", value=0.1 + 0.2, timestamp=1_700_000_000_000, step=3)
RECORDS: list[Record] = [
    Metrics(points=(POINT,), model="own", skip_known_steps=True),
    Parameters(values={"training.epochs": "3"}),
    Tags(values={"ppi.model": "größer\n\U0001f600"}),
    Datasets(datasets=(TrackedDataset(name="a", context="train", digest="d", source="s", size=3),)),
    Files(folder="figures", artifact_path="figures", digests={"a/b.png": "0" * 64}),
    Checkpoints(folders={"best": "unsent/1"}, digests={"best": "0" * 64}, step=7, final=True),
    Model(
        name="m", checkpoint="checkpoints/best", digests={"w": "0"}, embedder="", scorer="a:b",
        example={"sequence_a": ("MK",)}, requirements=("torch==2",), parameters={"a": "b"}, tags={},
    ),
    End(status="FINISHED", time=2),
]  # fmt: skip


def written(folder: Path, records: list[Record]) -> Path:
    store = Store.create(folder / NAME, HEADER)
    for record in records:
        store.add(record)
    store.close()
    return folder / NAME


def read(path: Path) -> tuple[list[Record], list[str]]:
    """The records of an outbox, and what is damaged."""
    store = Store.open(path)
    try:
        return [record for _, record in store.pending()], store.damaged
    finally:
        store.close()


def change(path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()


def test_every_record_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store.open(written(tmp_path, RECORDS))
    assert store.header == HEADER
    assert [record for _, record in store.pending()] == RECORDS
    assert store.ended
    assert not store.damaged
    store.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 5e-324])
def test_odd_numbers_come_back_to_the_last_bit(tmp_path: Path, value: float) -> None:
    point = Point(name="a", value=value, timestamp=1, step=0)
    ((found,), _) = read(written(tmp_path, [Metrics(points=(point,))]))
    assert isinstance(found, Metrics)
    assert repr(found.points[0].value) == repr(value)


def test_a_name_that_is_not_text_is_written_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\xff.fasta")
    assert read(written(tmp_path, [Tags(values={"path": name})])) == (
        [Tags(values={"path": r"caf\udce9\udcff.fasta"})],
        [],
    )


def test_many_records_are_read_page_by_page(tmp_path: Path) -> None:
    records: list[Record] = [Tags(values={"number": str(number)}) for number in range(1001)]
    assert read(written(tmp_path, records)) == (records, [])


def test_a_file_cut_anywhere_is_read_as_far_as_it_goes_or_named(tmp_path: Path) -> None:
    records: list[Record] = [Tags(values={"number": str(number) + "x" * 500}) for number in range(100)]
    path = written(tmp_path, records)
    whole = path.read_bytes()
    most = 0
    for length in range(0, len(whole), 1536):
        path.write_bytes(whole[:length])
        try:
            found, damaged = read(path)
        except JournalError as error:
            assert str(path) in str(error)  # noqa: PT017 - either is right
            continue
        assert found == [record for record in records if record in found]
        assert damaged, length
        most = max(most, len(found))
    assert most > 50


def test_a_changed_byte_costs_that_record_alone_and_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, RECORDS)
    content = path.read_bytes()
    assert content.count(b"training.epochs") == 1
    path.write_bytes(content.replace(b"training.epochs", b"training.epoxhs"))
    assert read(path) == ([RECORDS[0], *RECORDS[2:]], ["record 1 is damaged"])


def test_a_damaged_page_costs_what_follows_and_is_named(tmp_path: Path) -> None:
    records: list[Record] = [Tags(values={"number": str(number) + "x" * 500}) for number in range(100)]
    path = written(tmp_path, records)
    content = bytearray(path.read_bytes())
    at = content.index(b'"60xxx') // 4096 * 4096
    content[at : at + 64] = os.urandom(64)
    path.write_bytes(content)
    found, damaged = read(path)
    assert 40 < len(found) < 61
    assert found == records[: len(found)]
    assert "the file is damaged" in damaged[0]
    assert "are lost" in damaged[1]
    assert path.read_bytes() == content, "a damaged file is left as it is"


def test_a_damaged_name_that_sqlite_quotes_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, RECORDS)
    whole = path.read_bytes()
    damaged = whole.replace(b"tablerecords", b"table\xae\xaecords").replace(
        b"CREATE TABLE r", b"CREATE TABL? r"
    )
    path.write_bytes(damaged)
    with pytest.raises(JournalError, match="not the outbox of a run"):
        read(path)


def test_what_was_sent_is_gone_and_what_was_refused_is_pending(tmp_path: Path) -> None:
    store = Store.create(tmp_path / NAME, HEADER)
    for record in RECORDS[:4]:
        store.add(record)
    store.mark_refused(1, "no")
    store.mark_sent([0, 2])
    store.close()
    assert read(tmp_path / NAME) == ([RECORDS[1], RECORDS[3]], [])
    with sqlite3.connect(tmp_path / NAME) as connection:
        assert connection.execute("SELECT number, refused FROM records").fetchall() == [(1, "no"), (3, None)]


def other_kind(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE records (number INTEGER)")


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an outbox\n" * 100),
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
    "another database": other_kind,
    "newer": lambda path: change(path, "PRAGMA user_version = 2"),
    "no run": lambda path: change(path, "DELETE FROM run"),
    "header": lambda path: change(path, "UPDATE run SET header = ?", b'{"run_id": 3}'),
    "null": lambda path: change(path, "UPDATE run SET header = NULL"),
    "other tables": lambda path: change(path, "CREATE TABLE more (number INTEGER)"),
    "a trigger": lambda path: change(
        path, "CREATE TRIGGER t AFTER DELETE ON records BEGIN DELETE FROM run; END"
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_is_not_an_outbox(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, RECORDS)
    SPOILT[name](path)
    with pytest.raises(JournalError, match="this is not the outbox of a run") as caught:
        Store.open(path)
    assert str(path) in str(caught.value)
    if name == "newer":
        assert "got: version 2" in str(caught.value)


def test_nothing_is_made_beside_a_file_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(JournalError):
        Store.open(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_journal_of_version_0_2_is_named_with_what_sends_it(tmp_path: Path) -> None:
    path = tmp_path / LEGACY_NAME
    shutil.copy(LEGACY, path)
    with pytest.raises(JournalError, match=r"a journal of version 0\.2") as caught:
        Store.open(path)
    assert f"mlflow run . --env-manager local -e sync -P journal={path}" in str(caught.value)


def test_a_huge_record_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, RECORDS)
    change(path, "UPDATE records SET content = zeroblob(100000000) WHERE number = 3")
    found, damaged = read(path)
    assert found == [*RECORDS[:3], *RECORDS[4:]]
    assert damaged == ["record 3 is damaged"]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_path_that_leads_out_of_its_folder_is_not_followed(tmp_path: Path, path: str) -> None:
    bad = Files(folder=".", artifact_path="", digests={})
    object.__setattr__(bad, "digests", {path: "0" * 64})
    assert read(written(tmp_path, [bad, RECORDS[1]])) == ([RECORDS[1]], ["record 0 is damaged"])


def test_one_process_locks_it_at_a_time(tmp_path: Path) -> None:
    store = Store.create(tmp_path / NAME, HEADER)
    with pytest.raises(TrackingError, match="another process works on this run"):
        Store.open(tmp_path / NAME)
    store.close()
    with pytest.raises(TrackingError, match="an outbox that was never sent"):
        Store.create(tmp_path / NAME, HEADER)


def test_paths_below_the_outboxes_folder_move_with_it(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run" / NAME, HEADER)
    assert store.relative(tmp_path / "run" / "figures") == "figures"
    assert store.relative(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")
    store.close()


def test_a_disk_that_turns_read_only_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store.create(tmp_path / NAME, HEADER)
    connection = store._database._connection
    assert connection is not None
    connection.execute("PRAGMA query_only = ON")  # the error that SQLite gives for EROFS too
    for record in RECORDS:
        store.add(record)
    store.flush()
    assert store.unwritten == len(RECORDS)
    assert caplog.text.count("the outbox cannot be written (attempt to write a readonly database)") == 1
    connection.execute("PRAGMA query_only = OFF")
    store.flush()
    assert store.unwritten == 0
    store.close()
    assert read(tmp_path / NAME) == (RECORDS, [])


KILLED = """
import sys, time
from pathlib import Path
from ppi_train.tracking.outbox.records import Header, Tags
from ppi_train.tracking.outbox.store import Store

header = Header(run_id="a", journal_id="b", offline=True, server="", started=0)
store = Store.create(Path(sys.argv[1]), header)
for number in range(10**9):
    store.add(Tags(values={"number": str(number)}))
    print(number, time.time(), flush=True)
    if number % 3 == 0:
        store.mark_sent([number])
    time.sleep(0.001)
"""


@pytest.mark.parametrize("seconds", [0.3, pytest.param(1.7, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_loses_the_last_second_at_most(tmp_path: Path, seconds: float) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / NAME)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        killed_at = time.time()
        lines += process.stdout.readlines()
    found, damaged = read(tmp_path / NAME)
    assert not damaged
    numbers = [int(record.values["number"]) for record in found if isinstance(record, Tags)]
    # A commit takes a moment, more of it on a busy machine.
    early = [int(line.split()[0]) for line in lines if float(line.split()[1]) < killed_at - 2.5]
    assert [number for number in early if number % 3] == [
        number for number in numbers if number <= len(early) - 1
    ]
    assert numbers == sorted(set(numbers))
