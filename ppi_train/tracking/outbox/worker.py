"""From a queue of records to the server: in order, in batches, and what is done when a batch fails."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from itertools import islice

from ppi_train.tracking.connection import is_conflict, is_the_servers
from ppi_train.tracking.outbox.files import UndeliverableError
from ppi_train.tracking.outbox.records import Checkpoints, Datasets, Metrics, Parameters, Record, Tags
from ppi_train.tracking.outbox.store import Store
from ppi_train.tracking.outbox.transport import (
    POINTS_AT_ONCE,
    VALUES_AT_ONCE,
    Transport,
    is_refusal,
)
from ppi_train.tracking.refusals import first_line

logger = logging.getLogger(__name__)

_RECORDS_AT_ONCE = 200
_MOST_CONFLICTS = 10


class Worker:
    """Sends the records of an outbox that it is given, and notes in the outbox what the server has.

    Args:
        store: Locked by this process.
        transport: To the run.
        may_be_sent: Whether the server may have any of the records already; else only those that it was
            sent in vain may be there.
    """

    def __init__(self, store: Store, transport: Transport, *, may_be_sent: bool) -> None:
        self._store, self._transport = store, transport
        self._always_again = self._again = may_be_sent
        self._queue: deque[tuple[int, Record]] = deque()
        self._lock = threading.Lock()
        self._singly = self._conflicts = 0
        self.refused: list[str] = []
        self.records_sent = 0

    def put(self, number: int, record: Record) -> None:
        """Puts a record of the outbox at the end of the queue."""
        with self._lock:
            self._queue.append((number, record))

    def __len__(self) -> int:
        return len(self._queue)

    def send_some(self) -> None:
        """Sends as many records from the start of the queue as make one batch.

        Raises:
            Exception: the server is away; nothing is taken from the queue.
        """
        batch = self._batch()
        if not batch:
            return
        numbers, records = zip(*batch, strict=True)
        try:
            # Checkpoints that later ones replace are left out.
            if not isinstance(records[0], Checkpoints) or self._store.checkpoints.use(numbers[0]):
                self._transport.send(records, again=self._again)
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
            self._store.mark_sent(numbers)
            self._conflicts = 0
            self.records_sent += len(records)
            self._again = self._always_again or self._singly > 0
        self._take_off(batch)

    def _batch(self) -> list[tuple[int, Record]]:
        with self._lock:
            head = list(islice(self._queue, _RECORDS_AT_ONCE))
        batch: list[tuple[int, Record]] = []
        size = 0
        for number, record in head:
            size += _size(record)
            if batch and (type(record) is not type(batch[0][1]) or self._singly or size > _limit(record)):
                break
            batch.append((number, record))
        return batch

    def _take_off(self, batch: list[tuple[int, Record]]) -> None:
        with self._lock:
            for _ in batch:
                self._queue.popleft()
        self._singly = max(0, self._singly - len(batch))
        for number, record in batch:
            if isinstance(record, Checkpoints):
                self._store.checkpoints.drop(number, record)

    def _is_final(self, error: Exception) -> bool:
        """Whether waiting cannot help, said by the server itself and not by a proxy before it."""
        if isinstance(error, UndeliverableError):
            return True
        may_pass = is_the_servers(error) or isinstance(error, OSError)
        return (is_refusal(error) or not may_pass) and self._transport.run_is_there()

    def _refuse(self, number: int, error: Exception) -> None:
        """Goes on without a record that will never be taken; the outbox keeps it."""
        why = first_line(error)
        if isinstance(error, UndeliverableError):
            why = f"{error.what}: {error.where}"
        logger.error("the tracking server does not have a record of the run: %s", why)
        if not (is_refusal(error) or is_the_servers(error)):
            logger.error("this is a fault of ours", exc_info=error)
        self.refused.append(why)
        self._store.mark_refused(number, why)


def _size(record: Record) -> int:
    if isinstance(record, Metrics):
        return len(record.points)
    return len(record.values) if isinstance(record, Parameters | Tags) else 1


def _limit(record: Record) -> int:
    if isinstance(record, Parameters | Tags):
        return VALUES_AT_ONCE
    return POINTS_AT_ONCE if isinstance(record, Metrics | Datasets) else 1


class BackgroundWorker:
    """A thread that sends what a run logs while it goes on, however long the server is away.

    Args:
        store: Closed when the thread ends, and removed if all was sent.
        transport: To the run.
    """

    FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

    def __init__(self, store: Store, transport: Transport) -> None:
        self._store = store
        self._worker = Worker(store, transport, may_be_sent=False)
        self._changed = threading.Condition()
        self._stopping = self._ending = False
        self.trouble = ""
        self.hopeless = False
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def add(self, record: Record) -> None:
        """Puts a record into the outbox and has it sent."""
        with self._changed:  # so that records are sent in the order of their numbers
            self._worker.put(self._store.add(record), record)
            self._changed.notify_all()

    @property
    def refused(self) -> list[str]:
        """Why the server does not have some of the records."""
        return self._worker.refused

    @property
    def unsent(self) -> int:
        """How many records the server does not have yet."""
        return len(self._worker)

    def finish(self, seconds: float) -> bool:
        """Waits until the server has all, or for so long; then the thread ends. Whether it has all."""
        until = time.monotonic() + seconds
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            try:
                while self._worker and not self.hopeless and time.monotonic() < until:
                    self._changed.wait(min(0.2, max(0.0, until - time.monotonic())))
            finally:
                self._stopping = True
                self._changed.notify_all()
        # A request that is not answered holds the thread up; it is not waited for.
        self._thread.join(timeout=0.5 if self._worker else 10.0)
        return not self._worker

    def _work(self) -> None:
        pause = self.FIRST_PAUSE
        try:
            while self._wait_for_work():
                try:
                    self._worker.send_some()
                    self._note_answer()
                    pause = self.FIRST_PAUSE
                except Exception as error:
                    self._note_trouble(error)
                    if self.hopeless:
                        return
                    with self._changed:
                        self._changed.wait_for(lambda: self._stopping, pause)
                    pause = min(2 * pause, self.LONGEST_PAUSE)
        finally:
            self._close()

    def _wait_for_work(self) -> bool:
        """Waits for a record to send; False when the thread is to end."""
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._worker or self._ending)
            return bool(self._worker) and not self._stopping

    def _note_trouble(self, error: Exception) -> None:
        self.trouble = first_line(error)
        self.hopeless = isinstance(error, ImportError)
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning(
                "the tracking server does not take what the run logs; it is kept in %s and sent later (%s)",
                self._store.path, self.trouble,
            )  # fmt: skip

    def _note_answer(self) -> None:
        if self._away_since is not None:
            logger.info(
                "the tracking server answers again, after %.0f s", time.monotonic() - self._away_since
            )
            self._away_since, self.trouble = None, ""

    def _close(self) -> None:
        if self._worker:
            self._store.close()
        elif self.refused:
            kept = self._store.set_aside()
            logger.error(
                "%d records were refused by the tracking server, and are kept in %s", len(self.refused), kept
            )
        else:
            self._store.remove()
