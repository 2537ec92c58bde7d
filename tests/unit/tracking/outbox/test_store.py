"""Tests of a run's journal file: power cuts, bad disks, and tampering."""

from __future__ import annotations

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
from ppi_train.tracking.outbox.store import NAME, Contents, Journal, encode, read_journal, record_in

HEADER = Header(run_id="a" * 32, journal_id="b", offline=False, server="http://server", started=1)
POINT = Point(name="val/auroc", value=0.1 + 0.2, timestamp=1_700_000_000_000, step=3)
RECORDS: list[Record] = [
    Metrics(points=(POINT,), model="own", anew=True),
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
    journal = Journal.create(folder / NAME, HEADER)
    for record in records:
        journal.append(record)
    journal.close()
    return folder / NAME


def records_of(contents: Contents) -> list[Record]:
    return [record_in(line) for _, line in contents.pending()]


def test_every_record_comes_back_as_it_was(tmp_path: Path) -> None:
    contents = read_journal(written(tmp_path, RECORDS))
    assert contents.header == HEADER
    assert records_of(contents) == RECORDS
    assert contents.ended
    assert not contents.damaged


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 5e-324])
def test_odd_numbers_come_back_to_the_last_bit(tmp_path: Path, value: float) -> None:
    point = Point(name="a", value=value, timestamp=1, step=0)
    (found,) = records_of(read_journal(written(tmp_path, [Metrics(points=(point,))])))
    assert isinstance(found, Metrics)
    assert repr(found.points[0].value) == repr(value)


def test_cut_anywhere_it_keeps_all_whole_records_and_can_be_gone_on_with(tmp_path: Path) -> None:
    path = written(tmp_path, RECORDS[:4])
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in range(len(lines[0]), len(whole), 17):
        path.write_bytes(whole[:length])
        kept = sum(len(b"".join(lines[: n + 1])) - 1 <= length for n in range(1, len(lines)))
        assert records_of(read_journal(path)) == RECORDS[:kept], length
        journal, contents = Journal.open(path)
        assert contents.following == kept
        journal.append(Tags(values={"ppi.after": "cut"}))
        journal.close()
        after = read_journal(path)
        assert records_of(after) == [*RECORDS[:kept], Tags(values={"ppi.after": "cut"})]
        assert not after.damaged


def test_a_damaged_line_costs_that_record_alone_and_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, RECORDS)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"gr", b"qr").replace(b"ppi", b"qqi")
    path.write_bytes(b"".join(lines))
    contents = read_journal(path)
    assert contents.damaged == [4]
    assert records_of(contents) == [*RECORDS[:2], *RECORDS[3:]]


def test_what_was_sent_is_not_pending_and_what_was_refused_is(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / NAME, HEADER)
    for record in RECORDS[:4]:
        journal.append(record)
    journal.note_refused(1, "no")
    journal.note_sent(3)
    journal.close()
    contents = read_journal(tmp_path / NAME)
    assert [number for number, _ in contents.pending()] == [1, 3]
    assert contents.refused == {1: "no"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a journal\n",
        b"00000000 {}\n",
        encode("header", {"version": 2, "run_id": "a"}),
        encode("header", {"version": 1, "run_id": 3}),
        encode("metrics", {"n": 0, "points": []}),
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_journal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(JournalError, match="this is no journal of a run"):
        read_journal(path)


def test_a_line_without_end(tmp_path: Path) -> None:
    path = written(tmp_path, [])
    with path.open("ab") as stream:
        stream.truncate(2**30)  # a file with a hole: a line of 1 GB
    with pytest.raises(JournalError, match="a line is too long"):
        read_journal(path)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_path_that_leads_out_of_its_folder_is_not_followed(tmp_path: Path, path: str) -> None:
    bad = Files(folder=".", artifact_path="", digests={path: "0" * 64})
    contents = read_journal(written(tmp_path, [bad, RECORDS[1]]))
    assert contents.damaged == [2]
    assert records_of(contents) == [RECORDS[1]]


def test_one_process_holds_it_at_a_time(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / NAME, HEADER)
    with pytest.raises(TrackingError, match="another process works on this run"):
        Journal.open(tmp_path / NAME)
    journal.close()
    with pytest.raises(TrackingError, match="a journal that was never sent"):
        Journal.create(tmp_path / NAME, HEADER)


def test_paths_below_the_journals_folder_move_with_it(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run" / NAME, HEADER)
    assert journal.relative(tmp_path / "run" / "figures") == "figures"
    assert journal.relative(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")
    journal.close()
