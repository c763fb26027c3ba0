"""Erasing for good: the database first, then its files, every live worker's index and the stream, then the receipt.

The answer waits until nobody can recognise the person any more: each live worker has followed the gallery, or its
lease has ended, after which it may not decide.
"""

import time
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.memory import overwrite_kept_arrays
from app.store import audit, removal, stream_removals, tombstones, wiping, workers
from app.store.engine import Store
from app.store.records import Forgotten, InStream, Receipt, Removed, StreamRemains
from app.store.stream_removals import Entries

PATIENCE = 10.0  # seconds: twice a lease
POLL = 0.05  # seconds
NOTHING = StreamRemains(0, InStream.REMOVED)


def erase_person(
    store: Store,
    building: str,
    person: str,
    *,
    stream: Entries | None = None,
    actor: audit.Actor = audit.SYSTEM,
    patience: float = PATIENCE,
) -> Receipt:
    """Delete a person with photos and templates, take the person and the pictures out of all events, and wait.

    Args:
        stream: None leaves the entries of the stream to a side job of the API process.
        patience: seconds to wait for workers that live but do not follow.

    Raises:
        NotFoundError: there is none of this id in this building.
        StoreUnavailableError: the database cannot be reached; the person may be gone from it already.
    """
    return settle(store, stream, [remove(store, building, person, actor)], patience)[0]


def remove(store: Store, building: str, person: str, actor: audit.Actor) -> Removed:
    """Do the first part of erasing a person: rows, tombstone and ledger. `settle` must follow, perhaps for several.

    Raises:
        NotFoundError: there is none of this id in this building.
        StoreUnavailableError: the database cannot be reached; the person may be gone from it already.
    """
    with store.session() as session:
        removed = removal.remove_person(session, building, person, actor)
    tombstones.complete_ledger(store)
    return removed


def erase_photo(
    store: Store,
    building: str,
    person: str,
    photo: str,
    *,
    actor: audit.Actor = audit.SYSTEM,
    patience: float = PATIENCE,
) -> Receipt:
    """Delete one photo with its templates, and wait as for a person.

    Raises:
        NotFoundError: the person has none of this id, or there is no such person in this building.
        StoreUnavailableError: the database cannot be reached.
    """
    with store.session() as session:
        removed = removal.remove_photo(session, building, person, photo, actor)
    return settle(store, None, [removed], patience)[0]


def settle(store: Store, stream: Entries | None, removed: Sequence[Removed], patience: float) -> list[Receipt]:
    """Do the second part: wait for the workers, clear the stream and wipe the files, once for all that was removed.

    Raises:
        StoreUnavailableError: the database cannot be reached; all rows are gone from it already.
    """
    if not removed:
        return []
    furthest = {one.building: one.sequence for one in sorted(removed, key=lambda one: one.sequence)}
    followed = {
        building: await_confirmations(store, building, sequence, patience) for building, sequence in furthest.items()
    }
    in_stream = stream_removals.clear(store, stream) if any(one.whole for one in removed) else NOTHING
    remains = wiping.wipe(store, tuple(sorted({table for one in removed for table in wiping.readable(one)})))
    store.renew()
    overwrite_kept_arrays()
    return [Receipt(one, followed[one.building], remains, in_stream) for one in removed]


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
