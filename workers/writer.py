"""The writing thread: takes events from the inference loop and stores them in order.

`put` never waits, so a slow or absent database slows no camera. Events wait in memory meanwhile. Their pictures are
most of the weight and are given up first; an event without them takes 1.7 kB. Eight doors with a visit every half
minute fill the queue in two days, in which nothing is granted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from app.errors import StaleOwnerError, StoreUnavailableError
from app.store import events
from app.store.engine import Store
from app.types import AccessEvent, Event
from workers.outage import Outage

log = logging.getLogger(__name__)

PICTURES = 500  # events; some 35 MB
LIMIT = 50_000  # events; some 85 MB without pictures


class EventWriter:
    """Stores each event once, in the order of `put`, however long the database is away.

    Events are lost only with the process, when `stop` may not wait any longer, or when too many wait; the log tells.

    Args:
        on_stored: told after each event that was written; it wakes the sender.
        on_stale: told camera and owner epoch of an event that was refused, because another worker owns that camera now.
        pictures: events that may wait with their pictures; later ones are stored without.
        limit: events that may wait; later ones are lost.
    """

    def __init__(
        self,
        store: Store,
        on_stored: Callable[[], None],
        on_stale: Callable[[str, int], None],
        pictures: int = PICTURES,
        limit: int = LIMIT,
    ) -> None:
        self._store = store
        self._on_stored = on_stored
        self._on_stale = on_stale
        self._pictures = pictures
        self._limit = limit
        self._lost = 0  # since the queue was full
        self._outage = Outage("the database")
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; it ends by itself only through a defect."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many events are not stored yet."""
        return len(self._waiting)

    @property
    def outage_seconds(self) -> float:
        """How long nothing could be stored; 0 while all is well."""
        return self._outage.seconds

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def put(self, event: Event) -> None:
        """Hand an event over; returns at once."""
        with self._changed:
            if isinstance(event, AccessEvent) and len(self._waiting) >= self._pictures:
                event = replace(event, snapshot=None, portrait=None)
            if len(self._waiting) >= self._limit:
                self._lose(event)
                return
            self._waiting.append(event)
            self._changed.notify()

    def stop(self, drain_seconds: float) -> None:
        """Store what waits, for at most about `drain_seconds`, and end the thread."""
        with self._changed:
            self._stop_at = time.monotonic() + drain_seconds
            self._changed.notify()
        self._thread.join()
        self._say_lost()
        if self._waiting:
            log.error("%d events are lost, the first is %s", len(self._waiting), self._waiting[0].id)

    def _run(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._store_event(event)
            except StoreUnavailableError as error:
                self._pause(self._outage.failed(error))
                continue
            self._outage.over()
            self._say_lost()
            self._waiting.popleft()  # only this thread takes, so the first is still this one

    def _next(self) -> Event | None:
        """Wait for an event; None when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stop_at is not None)
            late = self._stop_at is not None and time.monotonic() >= self._stop_at
            return None if late or not self._waiting else self._waiting[0]

    def _store_event(self, event: Event) -> None:
        """Write one event, or refuse what can never be written.

        Raises:
            StoreUnavailableError: nothing is known of the event's fate; write it again.
        """
        try:
            with self._store.session() as session:
                events.add(session, event)
        except StaleOwnerError as error:
            log.warning("event %s is refused: %s", event.id, error)
            self._on_stale(event.camera, event.owner_epoch)
        except (SQLAlchemyError, TypeError, ValueError):  # a driver lets some errors of a bad value through as they are
            log.exception("event %s cannot be stored and is dropped", event.id)
        else:
            self._on_stored()

    def _lose(self, event: Event) -> None:
        """Give up an event because memory is not endless; the gap in its camera's numbers stays visible."""
        self._lost += 1
        if self._lost == 1:
            log.error("%d events wait for the database; event %s and later ones are lost", self._limit, event.id)

    def _say_lost(self) -> None:
        with self._changed:
            lost, self._lost = self._lost, 0
        if lost:
            log.error("%d events were lost while the database was away", lost)

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; less when told to stop meanwhile, and not beyond the time that was given then."""
        with self._changed:
            if self._stop_at is None:
                self._changed.wait_for(lambda: self._stop_at is not None, timeout=seconds)
            else:
                self._changed.wait(min(seconds, max(self._stop_at - time.monotonic(), 0.0)))
