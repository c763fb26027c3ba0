"""Erasing for good: the database first, then every live worker's index, then the receipt.

The answer waits until nobody can recognise the person any more: each live worker has followed the gallery, or its
lease has ended, after which it may not decide.
"""

import time
from contextlib import closing
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.store import buildings, people, workers
from app.store.clock import now
from app.store.engine import Store
from app.store.records import Forgotten, Receipt, Remains
from app.store.tables import EventRow, PersonRow, Photo, Snapshot, Template

PATIENCE = 10.0  # seconds: twice a lease
POLL = 0.05  # seconds


def erase_person(store: Store, building: str, person: str, patience: float = PATIENCE) -> Receipt:
    """Delete a person with photos and templates, take the person and the pictures out of all events, and wait.

    Args:
        patience: seconds to wait for workers that live but do not follow.

    Raises:
        NotFoundError: there is none of this id in this building.
        StoreUnavailableError: the database cannot be reached; the person may be gone from it already.
    """
    with store.session() as session:
        people.locked(session, building, person)  # an event about this person that is being stored comes first
        photos = _count(session, Photo.id, Photo.person_id == person)
        templates = _count(session, Template.id, Template.person_id == person)
        snapshots = _delete_snapshots(session, person)
        events = _anonymise(session, person)
        session.execute(delete(PersonRow).where(PersonRow.id == person))
        sequence = buildings.raise_sequence(session, building, person)
        erased_at = now(session)
    remains = wipe(store)
    followed = await_confirmations(store, building, sequence, patience)
    return Receipt(building, person, photos, templates, events, snapshots, sequence, erased_at, followed, remains)


def erase_photo(store: Store, building: str, person: str, photo: str, patience: float = PATIENCE) -> Receipt:
    """Delete one photo with its templates, and wait as for a person.

    Raises:
        NotFoundError: the person has none of this id, or there is no such person in this building.
        StoreUnavailableError: the database cannot be reached.
    """
    with store.session() as session:
        templates = _count(session, Template.id, Template.photo_id == photo)
        sequence = people.delete_photo(session, building, person, photo)
        erased_at = now(session)
    remains = wipe(store)
    followed = await_confirmations(store, building, sequence, patience)
    return Receipt(building, person, 1, templates, 0, 0, sequence, erased_at, followed, remains)


def await_confirmations(store: Store, building: str, sequence: int, patience: float) -> dict[str, Forgotten]:
    """Wait until every worker that lives now has followed a building's gallery or lost its lease.

    Returns:
        Worker -> how we know; `UNCONFIRMED` only after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    found: dict[str, Forgotten] = {}
    while True:
        with store.reading() as session:
            states = confirmations(session, building, sequence)
        ended = {worker: Forgotten.LEASE_ENDED for worker, state in found.items() if state != Forgotten.CONFIRMED}
        found = found | ended | states
        if Forgotten.UNCONFIRMED not in states.values() or time.monotonic() > deadline:
            return found
        time.sleep(POLL)


def confirmations(session: Session, building: str, sequence: int) -> dict[str, Forgotten]:
    """Return for every live worker whether its gallery of the building has reached `sequence`."""
    return {
        worker.id: Forgotten.CONFIRMED if worker.galleries.get(building, -1) >= sequence else Forgotten.UNCONFIRMED
        for worker in workers.live(session)
    }


def wipe(store: Store) -> Remains:
    """Remove the erased bytes from SQLite's log, where older versions of pages outlive the commit."""
    if not store.sqlite:
        return Remains.UNTIL_VACUUM
    with closing(store.engine.raw_connection()) as connection:  # a session would begin a transaction
        cursor = connection.cursor()
        busy, _pages, _copied = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return Remains.IN_LOG if busy else Remains.NONE


def _count(session: Session, column: InstrumentedAttribute[Any], condition: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(column)).where(condition)) or 0


def _delete_snapshots(session: Session, person: str) -> int:
    mine = select(EventRow.id).where(EventRow.person_id == person)
    gone = delete(Snapshot).where(Snapshot.event_id.in_(mine))
    return len(session.scalars(gone.returning(Snapshot.event_id)).all())


def _anonymise(session: Session, person: str) -> int:
    named = update(EventRow).where(EventRow.person_id == person).values(person_id=None)
    return len(session.scalars(named.returning(EventRow.id)).all())
