"""The sending thread: moves events from the outbox of the database into the event stream.

An event is struck off only after the stream has taken it, and the stream takes each id once, so whatever dies or
hangs in between, nothing is lost and nothing is doubled. Nobody is fenced off here: a worker that lost its camera was
refused when it tried to store the event, and what was stored before that must still be delivered.

A stream that is new, or whose server has lost its data, is first filled with the events of the last day. Consumers see
them again under the ids that they had.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

from app.errors import StoreUnavailableError, StreamEmptyError, StreamUnavailableError
from app.events import EventStream
from app.store import history, outbox
from app.store.engine import Store
from app.types import AccessEvent, Event
from workers.outage import Outage

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # finds what other processes stored and did not send
BATCH = 50  # small, because an event is sent as it was when its batch was read
FILL = 200  # the same for a stream that lost its data; there speed counts, for nothing else is sent meanwhile


class OutboxSender:
    """Sends the oldest waiting events first, at once after `wake`.

    Any number of senders, in any number of processes, may share an outbox: each reads from the oldest event on, so the
    order of one camera's events is kept however they overtake each other.

    Args:
        on_sent: told of each event that this sender added to the stream, and the seconds since it was decided.
        handling_names: opens a block around all that reads names and sends them.
    """

    def __init__(
        self,
        store: Store,
        stream: EventStream,
        on_sent: Callable[[Event, float], None],
        handling_names: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._store = store
        self._handling_names = handling_names
        self._stream = stream
        self._on_sent = on_sent
        self._outage = Outage("the way to the event stream")
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._drain_until = 0.0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; it ends by itself only through a defect."""
        return self._thread.is_alive()

    @property
    def outage_seconds(self) -> float:
        """How long nothing could be sent; 0 while all is well."""
        return self._outage.seconds

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def wake(self) -> None:
        """Say that an event was stored."""
        self._woken.set()

    def stop(self, drain_seconds: float) -> None:
        """Send what waits, unless the stream is away, for at most about `drain_seconds`; the rest stays stored."""
        self._drain_until = time.monotonic() + drain_seconds
        self._stopping.set()
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._handling_names():
                pause = self._round()
            if self._outage.lasts:
                self._stopping.wait(pause)  # new events are no reason to knock more often
            else:
                self._woken.wait(pause)
                self._woken.clear()
        more = True
        while more and time.monotonic() < self._drain_until:
            with self._handling_names():
                more = self._round() == 0.0

    def _round(self) -> float:
        """Send one batch and return the seconds to wait before the next; 0 when more is waiting."""
        try:
            with outbox.batch(self._store, BATCH) as records:
                for record in records:
                    if self._stream.add(record.event, record.has_snapshot):
                        self._on_sent(record.event, _age(record.event))
            if not records:
                self._stream.require()
        except StreamEmptyError:
            return self._fill()
        except (StoreUnavailableError, StreamUnavailableError) as error:
            return self._outage.failed(error)
        self._outage.over()
        return 0.0 if len(records) == BATCH else POLL_SECONDS

    def _fill(self) -> float:
        """Put the past into a stream that has none and return the seconds to wait before the next round."""
        try:
            with self._store.reading() as session:
                ids = history.ids(session, self._stream.length)
            added = 0
            with self._stream.filling() as add:
                for start in range(0, len(ids), FILL):
                    self._hurry()
                    with self._store.reading() as session:
                        past = history.sendable(session, ids[start : start + FILL])
                    added += add(past)
        except (StoreUnavailableError, StreamUnavailableError) as error:
            return self._outage.failed(error)
        level = logging.WARNING if added else logging.INFO
        log.log(level, "the event stream was new or had lost its data: %d events were put into it", added)
        return 0.0

    def _hurry(self) -> None:
        """Raise when the time is up; the next sender goes on with the filling."""
        if self._stopping.is_set() and time.monotonic() >= self._drain_until:
            raise StreamUnavailableError("the end came before it was filled")


def _age(event: Event) -> float:
    decided = event.decided_at if isinstance(event, AccessEvent) else event.at
    return max((datetime.now(UTC) - decided).total_seconds(), 0.0)  # the clock may have been set back
