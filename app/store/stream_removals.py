"""Entries of the event stream that name somebody who was erased: noted with the erasure, then taken out.

An event that waits in the outbox may be in the hands of a sender who read it before the erasure. It stays noted until
it was sent: from then on no other copy of it can enter the stream.
"""

import logging
import time
from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from sqlalchemy import delete, select

from app.errors import StreamUnavailableError
from app.store.engine import Store
from app.store.records import InStream, StreamRemains
from app.store.tables import Outbox, StreamRemoval

log = logging.getLogger(__name__)

SENDING_SECONDS = 2.0  # how long the answer waits for events that are being sent
REWRITE_SECONDS = 10.0  # how long it waits for the server to write its files anew
POLL = 0.05  # seconds
BATCH = 500  # rows a transaction


class Entries(Protocol):
    """The event stream, as far as it is needed here."""

    def remove(self, subjects: Collection[str]) -> int:
        """Take out the entries of these events that name a person, and those that name one of these persons.

        Returns how many.

        Raises:
            StreamUnavailableError: no answer, or the stream is just being filled.
        """

    def trim(self, before: datetime) -> None:
        """Drop the entries that were added before a moment.

        Raises:
            StreamUnavailableError: no answer.
        """

    def rewrite(self, patience: float) -> bool:
        """Have the server write its files anew if that is still to be done; return whether it is done.

        Raises:
            StreamUnavailableError: no answer.
        """


def clear(store: Store, stream: Entries | None) -> StreamRemains:
    """Take out what is noted, of all persons; what fails stays noted.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    noted = _noted(store)
    if not noted:
        return StreamRemains(0, InStream.REMOVED)
    if stream is None:
        return StreamRemains(0, InStream.PENDING)
    waiting = _await_sending(store, noted)
    try:
        entries = stream.remove(noted)
        rewritten = stream.rewrite(REWRITE_SECONDS)
    except StreamUnavailableError as error:
        log.warning("entries of erased persons are still in the event stream: %s", error)
        return StreamRemains(0, InStream.PENDING)
    _strike_off(store, noted - waiting)
    if waiting:
        return StreamRemains(entries, InStream.PENDING)
    return StreamRemains(entries, InStream.REMOVED if rewritten else InStream.UNTIL_REWRITE)


def _noted(store: Store) -> set[str]:
    with store.reading() as session:
        return set(session.scalars(select(StreamRemoval.subject)))


def _await_sending(store: Store, noted: set[str]) -> set[str]:
    """Return those of the noted events that still wait to be sent after a moment."""
    deadline = time.monotonic() + SENDING_SECONDS
    while True:
        with store.reading() as session:
            query = select(Outbox.event_id).join(StreamRemoval, StreamRemoval.subject == Outbox.event_id)
            waiting = noted.intersection(session.scalars(query))
        if not waiting or time.monotonic() > deadline:
            return waiting
        time.sleep(POLL)


def _strike_off(store: Store, done: set[str]) -> None:
    subjects = sorted(done)
    for start in range(0, len(subjects), BATCH):
        with store.session() as session:
            session.execute(delete(StreamRemoval).where(StreamRemoval.subject.in_(subjects[start : start + BATCH])))
