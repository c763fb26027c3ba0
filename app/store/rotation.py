"""Changing the keys that seal columns. Each sealed value names its key, so a rotation may stop and go on anywhere."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import SetupError
from app.keyring import ID_BYTES, VERSION
from app.store import audit
from app.store.engine import Store
from app.store.sealing import register, seal, unseal
from app.store.tables import (
    CameraRow,
    EncryptionKey,
    IdempotentReply,
    OperationItem,
    Photo,
    Portrait,
    Snapshot,
    Template,
    Webhook,
)

BATCH = 50  # rows a transaction; a photo has some 300 kB
Progress = Callable[[str, int], None]  # place, rows sealed anew so far


@dataclass(frozen=True, slots=True)
class Place:
    """A sealed column, and what its labels are made of."""

    label: str  # without the owner
    column: InstrumentedAttribute[Any]
    owner: InstrumentedAttribute[str]
    primary: tuple[InstrumentedAttribute[Any], ...]

    @property
    def key(self) -> ColumnElement[bytes]:
        """The id of the key, as it lies in the value."""
        return func.substr(self.column, len(VERSION) + 1, ID_BYTES)


PLACES = (
    Place("photos.image", Photo.image, Photo.id, (Photo.id,)),
    Place("templates.vector", Template.vector, Template.person_id, (Template.id,)),
    Place("snapshots.image", Snapshot.image, Snapshot.event_id, (Snapshot.event_id,)),
    Place("portraits.image", Portrait.image, Portrait.event_id, (Portrait.event_id,)),
    Place("cameras.source", CameraRow.sealed_source, CameraRow.id, (CameraRow.id,)),
    Place("webhooks.secrets", Webhook.secrets, Webhook.id, (Webhook.id,)),
    Place("idempotent_replies.reply", IdempotentReply.reply, IdempotentReply.id, (IdempotentReply.id,)),
    Place(
        "operation_items.photo",
        OperationItem.photo,
        OperationItem.operation_id,
        (OperationItem.operation_id, OperationItem.position),
    ),
)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key and what it is needed for."""

    id: str
    current: bool  # it seals what is written from now on
    here: bool  # the key file holds it
    first_used_at: datetime | None  # in this database
    rows: int


def uses(store: Store) -> list[KeyUse]:
    """Return the keys of the file and those that the database needs, the sealing one first.

    Raises:
        SetupError: the key file is missing or damaged.
        StoreUnavailableError: the database does not answer.
    """
    with store.reading() as session:
        rows = _rows(session)
        first = {row.id: row.created_at for row in session.scalars(select(EncryptionKey))}
    here = store.keyring.ids
    names = [*here, *sorted((first.keys() | rows.keys()) - set(here))]
    return [KeyUse(name, name == here[0], name in here, first.get(name), rows[name]) for name in names]


def rotate(store: Store, actor: audit.Actor, progress: Progress = lambda place, rows: None) -> str:
    """Add a key to the file, and seal everything anew with it; return its id.

    Raises:
        SetupError: the key file cannot be written.
        SealError: a value cannot be opened.
        StoreUnavailableError: the database does not answer; `reseal` goes on later.
    """
    name = store.keyring.add()
    with store.session() as session:
        register(session)
        audit.add(session, actor, "encryption_key.added", target=name)
    reseal(store, progress)
    return name


def reseal(store: Store, progress: Progress = lambda place, rows: None) -> int:
    """Seal with the current key whatever another one sealed, and return how many values that were.

    Other processes read and write meanwhile: they look at the key file each time, and so know the new key before
    they meet it.

    Raises:
        SealError: a value cannot be opened.
        StoreUnavailableError: the database does not answer; what was sealed anew stays so.
    """
    return sum(_reseal(store, place, progress) for place in PLACES)


def retire(store: Store, names: frozenset[str], actor: audit.Actor) -> None:
    """Take keys out of the file that nothing here needs any more. Older backups may need them.

    Raises:
        SetupError: a key is not there, is the one that seals, or is needed by rows.
        StoreUnavailableError: the database does not answer.
    """
    keyring = store.keyring
    with store.session() as session:
        rows = _rows(session)
        for name in sorted(names):
            if name not in keyring.ids:
                raise SetupError(f"there is no key {name} in {keyring.path}")
            if name == keyring.current:
                raise SetupError(f"key {name} seals what is written now; rotate first")
            if rows[name]:
                raise SetupError(f"{rows[name]} rows need key {name}; `cardea keys rotate --resume` seals them anew")
            audit.add(session, actor, "encryption_key.retired", target=name)
        session.execute(delete(EncryptionKey).where(EncryptionKey.id.in_(names)))
    keyring.retire(names)  # last: a key too many in the file does no harm, one too few keeps everything from starting


def _rows(session: Session) -> Counter[str]:
    """Count the sealed values of each key."""
    counts: Counter[str] = Counter()
    for place in PLACES:
        keys = select(place.key.label("key")).where(place.column.is_not(None)).subquery()
        for key, number in session.execute(select(keys.c.key, func.count()).group_by(keys.c.key)):
            counts[bytes(key).hex()] += number
    return counts


def _reseal(store: Store, place: Place, progress: Progress) -> int:
    done, last = 0, None
    current = bytes.fromhex(store.keyring.current)
    while True:
        with store.session() as session:
            query = select(*place.primary, place.owner.label("owner"), place.column.label("value"))
            query = query.where(place.column.is_not(None), place.key != current)
            if last is not None:
                query = query.where(tuple_(*place.primary) > tuple_(*last))
            rows = session.execute(query.order_by(*place.primary).limit(BATCH).with_for_update()).all()
            for row in rows:
                label = f"{place.label}/{row.owner}"
                value = seal(session, unseal(session, row.value, label), label)
                mine = tuple_(*place.primary) == tuple_(*row[: len(place.primary)])
                session.execute(update(place.column.class_).where(mine).values({place.column: value}))
        done += len(rows)
        if len(rows) < BATCH:
            return done
        last = rows[-1][: len(place.primary)]
        progress(place.label, done)
