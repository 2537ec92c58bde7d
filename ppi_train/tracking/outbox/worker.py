"""From a queue of journal lines to the server: in order, in batches, and what is done when one fails."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

from ppi_train.tracking.connection import first_line, is_conflict, is_the_servers
from ppi_train.tracking.outbox.records import Checkpoints, Datasets, Metrics, Parameters, Record, Tags
from ppi_train.tracking.outbox.store import Journal, record_in
from ppi_train.tracking.outbox.transport import (
    POINTS_AT_ONCE,
    VALUES_AT_ONCE,
    Delivery,
    UndeliverableError,
    is_refusal,
)

logger = logging.getLogger(__name__)

_LINES_AT_ONCE = 200
_MOST_CONFLICTS = 10


class Sender:
    """Sends the lines of a journal that it is given, and notes in the journal what the server has.

    Args:
        journal: Held by this process.
        delivery: To the run.
        again: Whether the server may have any of the lines already; else only those that it was sent in
            vain may be there.
    """

    def __init__(self, journal: Journal, delivery: Delivery, *, again: bool) -> None:
        self._journal, self._delivery = journal, delivery
        self._always_again = self._again = again
        self._queue: deque[tuple[int, bytes]] = deque()
        self._lock = threading.Lock()
        self._singly = self._conflicts = 0
        self.refused: list[str] = []
        self.records_sent = 0

    def add(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Puts numbers and lines at the end of the queue."""
        with self._lock:
            self._queue.extend(lines)

    def __len__(self) -> int:
        return len(self._queue)

    def send_some(self) -> None:
        """Sends as many lines from the start of the queue as make one batch.

        Raises:
            Exception: the server is away; nothing is taken from the queue.
        """
        numbers, records = self._batch()
        if not numbers:
            return
        first = records[0]
        try:
            # Of checkpoints, those that later ones wait behind are left out.
            if not isinstance(first, Checkpoints) or self._journal.use_checkpoints(numbers[0]):
                self._delivery.send(records, again=self._again)
        except Exception as error:
            self._again = True
            if is_conflict(error) and self._conflicts < _MOST_CONFLICTS:
                self._conflicts += 1
                return  # asked once more, the server finds what the other run has made
            if not self._is_final(error):
                raise
            if len(records) > 1:
                self._singly = len(records)  # to find the one that is refused
                return
            self._refuse(numbers[0], error)
        else:
            self._conflicts = 0
            self.records_sent += len(records)
            self._again = self._always_again or self._singly > 0
        self._take_off(numbers, records)

    def _batch(self) -> tuple[list[int], list[Record]]:
        numbers: list[int] = []
        records: list[Record] = []
        size = 0
        with self._lock:
            head = [self._queue[at] for at in range(min(len(self._queue), _LINES_AT_ONCE))]
        for number, line in head:
            record = record_in(line)
            size += _size(record)
            if records and (type(record) is not type(records[0]) or self._singly or size > _limit(record)):
                break
            numbers.append(number)
            records.append(record)
        return numbers, records

    def _take_off(self, numbers: list[int], records: list[Record]) -> None:
        with self._lock:
            for _ in numbers:
                self._queue.popleft()
        self._singly = max(0, self._singly - len(numbers))
        self._journal.note_sent(numbers[-1] + 1)
        for number, record in zip(numbers, records, strict=True):
            if isinstance(record, Checkpoints):
                self._journal.done_with(number, record)

    def _is_final(self, error: Exception) -> bool:
        """Whether waiting cannot help; what stands before a server that is away may say anything, though."""
        if isinstance(error, UndeliverableError):
            return True
        return (is_refusal(error) or not _of_the_outside(error)) and self._delivery.run_is_there()

    def _refuse(self, number: int, error: Exception) -> None:
        """Goes on without a record that will never be taken; the journal keeps it."""
        why = first_line(error)
        if isinstance(error, UndeliverableError):
            why = f"{error.what}: {error.where}"
        logger.error("the tracking server does not have a record of the run: %s", why)
        if not (is_refusal(error) or is_the_servers(error)):
            logger.error("this is a fault of ours", exc_info=error)
        self.refused.append(why)
        self._journal.note_refused(number, why)


def _of_the_outside(error: Exception) -> bool:
    """Whether waiting may help: the server or its disk is away or ill, or a client of its store is absent."""
    return is_the_servers(error) or isinstance(error, OSError)


def _size(record: Record) -> int:
    if isinstance(record, Metrics):
        return len(record.points)
    return len(record.values) if isinstance(record, Parameters | Tags) else 1


def _limit(record: Record) -> int:
    if isinstance(record, Metrics):
        return POINTS_AT_ONCE
    if isinstance(record, Parameters | Tags):
        return VALUES_AT_ONCE
    return POINTS_AT_ONCE if isinstance(record, Datasets) else 1


class BackgroundSender:
    """A thread that sends what a journal is given while the run goes on, however long the server is away.

    Args:
        sender: With its journal.
        journal: Closed, and removed once all is sent, when the thread ends.
    """

    FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

    def __init__(self, sender: Sender, journal: Journal) -> None:
        self._sender, self._journal = sender, journal
        self._changed = threading.Condition()
        self._stopping = self._ending = False
        self.trouble = ""
        self.hopeless = False
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def add(self, number: int, line: bytes) -> None:
        """Has a line sent."""
        self._sender.add([(number, line)])
        with self._changed:
            self._changed.notify_all()

    @property
    def refused(self) -> list[str]:
        """Why the server does not have some of the records."""
        return self._sender.refused

    @property
    def unsent(self) -> int:
        """How many records the server does not have yet."""
        return len(self._sender)

    def finish(self, seconds: float) -> bool:
        """Waits until the server has all, or for so long; then the thread ends. Whether it has all."""
        until = time.monotonic() + seconds
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            try:
                while self._sender and not self.hopeless and time.monotonic() < until:
                    self._changed.wait(min(0.2, max(0.0, until - time.monotonic())))
            finally:
                self._stopping = True
                self._changed.notify_all()
        # A request that is not answered holds the thread up; it is not waited for.
        self._thread.join(timeout=0.5 if self._sender else 10.0)
        return not self._sender

    def _work(self) -> None:
        pause = self.FIRST_PAUSE
        try:
            while self._wait_for_work():
                try:
                    self._sender.send_some()
                    self._note_answer()
                    pause = self.FIRST_PAUSE
                except Exception as error:
                    self._note_trouble(error)
                    if self.hopeless:
                        return
                    self._pause(pause)
                    pause = min(2 * pause, self.LONGEST_PAUSE)
        finally:
            self._close()

    def _wait_for_work(self) -> bool:
        """Waits for a line to send; False when the thread is to end."""
        with self._changed:
            while not self._sender and not self._ending:
                self._changed.wait(1.0)
            self._changed.notify_all()
            return bool(self._sender) and not self._stopping

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._changed:
            while not self._stopping and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _note_trouble(self, error: Exception) -> None:
        self.trouble = first_line(error)
        self.hopeless = isinstance(error, ImportError)
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning(
                "the tracking server does not take what the run logs; it is kept in %s and sent later (%s)",
                self._journal.path, self.trouble,
            )  # fmt: skip

    def _note_answer(self) -> None:
        if self._away_since is not None:
            logger.info(
                "the tracking server answers again, after %.0f s", time.monotonic() - self._away_since
            )
            self._away_since, self.trouble = None, ""

    def _close(self) -> None:
        if self._sender:
            self._journal.close()
        elif self._sender.refused:
            kept = self._journal.set_aside()
            logger.error(
                "%d records were refused by the tracking server, and are kept in %s",
                len(self._sender.refused), kept,
            )  # fmt: skip
        else:
            self._journal.remove()
