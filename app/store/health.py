"""Whether a database is fit for this version of the product: schema, keys, sealed bytes, templates, integrity."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import LargeBinary, inspect, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import SealError, SetupError
from app.store import embedders, migration, outbox, templates
from app.store.engine import Store
from app.store.sealing import unseal
from app.store.tables import CameraRow, EncryptionKey, Photo, Portrait, Snapshot, Template

SAMPLE = 200  # newest rows of each sealed column that are opened

Sealed = tuple[InstrumentedAttribute[bytes], InstrumentedAttribute[str]]  # column, and the row's name in its label
SEALED: dict[str, Sealed] = {
    "photos.image": (Photo.image, Photo.id),
    "templates.vector": (Template.vector, Template.person_id),
    "snapshots.image": (Snapshot.image, Snapshot.event_id),
    "portraits.image": (Portrait.image, Portrait.event_id),
    "cameras.source": (CameraRow.sealed_source, CameraRow.id),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `advice` is empty when all is well."""

    name: str
    found: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.advice


def check(store: Store, at_hand: Sequence[str]) -> list[Finding]:
    """Look at everything that can be looked at without changing anything.

    Args:
        at_hand: ids of the embedders of this installation, the shipped one first.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    with store.reading() as session:
        schema = _schema(session)
        if not schema.ok:
            return [schema]  # the other questions would be asked of tables that are not there
        return [
            schema,
            _keys(session, store),
            *(_sealed(session, label, *columns) for label, columns in SEALED.items()),
            recognition(session, at_hand),
            _integrity(session, store),
            _backlog(session),
        ]


def _schema(session: Session) -> Finding:
    present, newest = migration.revisions(session.connection())
    if present == newest:
        return Finding("schema", f"revision {present}")
    if present is None:
        return Finding("schema", "empty", "start `cardea up` or `cardea serve`, which makes the tables")
    advice = "back up, then start this version, which migrates; or install the version that made it"
    return Finding("schema", f"revision {present}, this version knows {newest}", advice)


def _keys(session: Session, store: Store) -> Finding:
    used = set(session.scalars(select(EncryptionKey.id)))
    try:
        missing = used - set(store.keyring.ids)
    except SetupError as error:
        return Finding("keys", str(error), f"put the key file back to {store.keyring.path}, or set CARDEA_KEY_FILE")
    if missing:
        advice = f"add the lost key to {store.keyring.path}: without it what it sealed cannot be read"
        return Finding("keys", f"missing: {', '.join(sorted(missing))}", advice)
    return Finding("keys", f"{len(used)} in use, all present")


def _sealed(
    session: Session, label: str, column: InstrumentedAttribute[bytes], owner: InstrumentedAttribute[str]
) -> Finding:
    assert isinstance(column.type, LargeBinary)
    newest = inspect(column.class_).primary_key[0].desc()
    unreadable = 0
    rows = session.execute(select(column, owner).order_by(newest).limit(SAMPLE)).all()
    for sealed, name in rows:
        try:
            unseal(session, sealed, f"{label}/{name}")
        except (SealError, SetupError):
            unreadable += 1
    found = f"{len(rows) - unreadable} of {len(rows)} looked at can be opened"
    return Finding(label, found, "restore a backup: rows were altered, or their key is lost" if unreadable else "")


def recognition(session: Session, at_hand: Sequence[str]) -> Finding:
    """Return whether those who have photos can be recognised.

    Args:
        at_hand: ids of the embedders of this installation, the shipped one first.
    """
    live, numbers = templates.live(session), templates.counts(session)
    if live is None:
        return Finding("templates", "none yet")
    found = f"{numbers.pop(live, 0)} of {live}"
    if live not in at_hand:
        advice = "run `cardea gallery reembed`, look at `cardea gallery compare`, then `cardea gallery switch`"
        return Finding("templates", f"{found}, which this version cannot use: it has {', '.join(at_hand)}", advice)
    if strangers := embedders.unrecognised(session, live):
        advice = f"run `cardea gallery reembed --to {live}`, and take new photos of those whom it names"
        return Finding("templates", f"{found}; {strangers} persons have photos and none of it", advice)
    beside = "".join(f"; beside them {number} of {name}" for name, number in numbers.items())
    return Finding("templates", found + beside)


def _integrity(session: Session, store: Store) -> Finding:
    if not store.sqlite:
        return Finding("integrity", "left to PostgreSQL (pg_amcheck)")
    pages = session.execute(text("PRAGMA integrity_check(3)")).scalars().all()
    orphans = session.execute(text("PRAGMA foreign_key_check")).all()
    if pages != ["ok"] or orphans:
        return Finding("integrity", f"{'; '.join(pages)}; {len(orphans)} rows without parent", "restore a backup")
    return Finding("integrity", "ok")


def _backlog(session: Session) -> Finding:
    waiting = outbox.backlog(session)
    if waiting.oldest_at is None:
        return Finding("outbox", "empty")
    return Finding("outbox", f"{waiting.waiting} events wait since {waiting.oldest_at:%Y-%m-%d %H:%M:%S} UTC")
