"""The writing thread: takes events from the inference loop and stores them in order.

`put` never waits, so a slow or absent database slows no camera. Events wait in memory meanwhile; what is bounded is
their pictures, which are all of the weight: an event without one is about a kilobyte, so a hundred doors that decide a
visit every ten seconds fill 40 MB in an hour.
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

PICTURES = 500  # some 25 MB


class EventWriter:
    """Stores each event once, in the order of `put`, however long the database is away.

    Events are lost only with the process, or when `stop` may not wait any longer; the loss is logged.

    Args:
        on_stored: told after each event that was written; it wakes the sender.
        on_stale: told the camera of an event that was refused, because another worker owns that camera now.
        pictures: events that may wait with their snapshot; later ones are stored without.
    """

    def __init__(
        self,
        store: Store,
        on_stored: Callable[[], None],
        on_stale: Callable[[str], None],
        pictures: int = PICTURES,
    ) -> None:
        self._store = store
        self._on_stored = on_stored
        self._on_stale = on_stale
        self._pictures = pictures
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
                event = replace(event, snapshot=None)
            self._waiting.append(event)
            self._changed.notify()

    def stop(self, drain_seconds: float) -> None:
        """Store what waits, for at most about `drain_seconds`, and end the thread."""
        with self._changed:
            self._stop_at = time.monotonic() + drain_seconds
            self._changed.notify()
        self._thread.join()
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
            self._on_stale(event.camera)
        except (SQLAlchemyError, TypeError, ValueError):  # a driver lets some errors of a bad value through as they are
            log.exception("event %s cannot be stored and is dropped", event.id)
        else:
            self._on_stored()

    def _pause(self, seconds: float) -> None:
        """Wait before the next try, less when told to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stop_at is not None, timeout=seconds)
