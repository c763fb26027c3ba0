"""Restoring a backup: all of it in one transaction, and nobody who was erased since comes back.

Numbers that may never be used twice jump ahead: owner epochs, because events are named after them and consumers
remember names, and gallery sequences, because whoever follows a gallery must load it anew.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Integer, MetaData, Table, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from app.errors import BackupError, NotFoundError, SetupError
from app.store import archive, audit, removal, sealing, tombstones, wiping, workers
from app.store.archive import Reader, Row
from app.store.backup import CHUNK, LEFT_OUT, Progress
from app.store.clock import now
from app.store.engine import FRESH, LOCK_SECONDS, Store
from app.store.migration import migrating
from app.store.tables import (
    ApiKey,
    Base,
    Building,
    CameraRow,
    EventRow,
    GalleryChange,
    Outbox,
    PersonRow,
    StreamRemoval,
    Tombstone,
    Worker,
)
from app.store.tombstones import Erased

LEAP = 1_000_000  # added to numbers that are ahead of the clock already
REMEMBERED = timedelta(days=7)  # how long the stream knows what it was sent
USED = ("persons", "cameras", "events", "api_keys", "webhooks")  # a database with none of these is empty
ACTOR = audit.Actor("command", name="restore")


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it."""

    made_at: str
    rows: int
    erased_again: int  # persons of the backup who were erased after it was made


@dataclass(slots=True)
class _Before:
    """What must be known of the database that a backup replaces."""

    used: bool = False
    epoch: int = 0
    sequence: int = 0
    persons: set[tuple[str, str]] = field(default_factory=set)  # building and person that a gallery may hold
    erased: Erased = field(default_factory=dict)
    ended: dict[str, tuple[datetime | None, datetime | None]] = field(default_factory=dict)  # key -> revoked, expires


def restore(
    store: Store, path: Path, *, replace: bool = False, progress: Progress = lambda table, rows: None
) -> Restored:
    """Put a backup in the place of an empty or missing database, or of another one; a failure changes nothing.

    Args:
        replace: put it also in the place of a database that is in use.

    Raises:
        BackupError: the file is damaged, foreign or too new.
        SetupError: a key is missing, the database is in use or not ours alone, or a worker lives.
        StoreUnavailableError: the database does not answer.
    """
    with archive.reading(path) as reader:
        reader.verify(store.keyring)
        erased = tombstones.read_ledger(store.keyring)
        with store.errors(), migrating(store.engine, store.keyring) as config:
            connection: Connection = config.attributes["connection"]
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            _check_revision(known, reader)
            _check_alone(connection, known)
            before = _before(connection, store)
            if before.used and not replace:
                raise SetupError("the database is in use; restore with --replace to put the backup in its place")
            _load(connection, config, reader, progress)
            again = _finish(connection, store, before, erased, reader)
    tombstones.complete_ledger(store)
    if again:  # their names came in with the backup, and lie in the files as deleted rows
        wiping.wipe(store, wiping.READABLE)
    manifest = reader.manifest
    return Restored(manifest.made_at, sum(member.rows for member in manifest.tables.values()), again)


def _check_revision(known: set[str], reader: Reader) -> None:
    if reader.manifest.revision not in known:
        raise BackupError(f"a newer version of Cardea made the backup (schema {reader.manifest.revision})")


def _check_alone(connection: Connection, known: set[str]) -> None:
    """See that all tables are ours, for all will be dropped; those of a newer version are not known here."""
    there = MetaData()
    there.reflect(connection)
    version = there.tables.get("alembic_version")
    if version is not None and not known.issuperset(connection.scalars(select(version.c.version_num))):
        return
    others = sorted(there.tables.keys() - Base.metadata.tables.keys() - {"alembic_version"})
    if others:
        raise SetupError(f"the database holds a table {others[0]} that is not Cardea's; restore into one of its own")


def _session(connection: Connection, store: Store) -> Session:
    """Return a session in the transaction of this connection."""
    session = Session(connection, expire_on_commit=False, execution_options=FRESH)
    session.info["keyring"] = store.keyring
    return session


def _before(connection: Connection, store: Store) -> _Before:
    """Look at what is there, at whatever schema it is.

    Raises:
        SetupError: a worker lives.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    there = MetaData()
    there.reflect(connection)
    before = _Before(used=any(_any_row(connection, there, name) for name in USED))
    if "buildings" not in there.tables:
        return before
    with _session(connection, store) as session:
        if session.scalar(select(Worker.id).where(workers.alive(session)).limit(1)) is not None:
            raise SetupError("a worker is running on this database: stop all processes of Cardea first")
    tables = there.tables
    before.epoch = _epoch(connection, tables["cameras"], tables["events"])
    before.sequence = connection.scalar(select(func.max(tables["buildings"].c.gallery_sequence))) or 0
    persons, changes = tables["persons"].c, tables["gallery_changes"].c
    for query in (select(persons.building_id, persons.id), select(changes.building_id, changes.person_id)):
        before.persons |= {(building, person) for building, person in connection.execute(query)}
    if "tombstones" in tables:
        with _session(connection, store) as session:
            before.erased = tombstones.listing(session)
    ended = select(ApiKey.id, ApiKey.revoked_at, ApiKey.expires_at)
    before.ended = {row.id: (row.revoked_at, row.expires_at) for row in connection.execute(ended)}
    return before


def _any_row(connection: Connection, there: MetaData, name: str) -> bool:
    return name in there.tables and connection.execute(select(there.tables[name]).limit(1)).first() is not None


def _epoch(connection: Connection, cameras: Table, events: Table) -> int:
    highest = [connection.scalar(select(func.max(table.c.owner_epoch))) or 0 for table in (cameras, events)]
    return max(highest)


def _load(connection: Connection, config: Config, reader: Reader, progress: Progress) -> None:
    """Make the tables of the backup's time, fill them, and bring them up to now."""
    there = MetaData()
    there.reflect(connection)
    there.drop_all(connection)
    command.upgrade(config, reader.manifest.revision)
    empty = MetaData()
    empty.reflect(connection)
    unknown = sorted(reader.manifest.tables.keys() - (empty.tables.keys() - LEFT_OUT))
    if unknown:
        raise BackupError(f"the backup has a table {unknown[0]} that its schema does not have")
    for table in reversed(empty.sorted_tables):
        if table.name != "alembic_version":
            connection.execute(table.delete())
    for table in empty.sorted_tables:
        if table.name in reader.manifest.tables:
            _fill(connection, table, reader, progress)
    command.upgrade(config, "head")
    if connection.dialect.name == "postgresql":
        _go_on_counting(connection)


def _fill(connection: Connection, table: Table, reader: Reader, progress: Progress) -> None:
    rows: list[Row] = []
    count = 0
    for row in reader.rows(table):
        rows.append(row)
        if len(rows) == CHUNK:
            connection.execute(insert(table), rows)
            count += len(rows)
            rows.clear()
            progress(table.name, count)
    if rows:
        connection.execute(insert(table), rows)


def _go_on_counting(connection: Connection) -> None:
    """Let PostgreSQL number new rows after the highest that was loaded; SQLite does so by itself."""
    for table in Base.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is not None and isinstance(column.type, Integer):
            counter = func.pg_get_serial_sequence(table.name, column.name)
            highest = select(func.max(column)).scalar_subquery()
            connection.execute(select(func.setval(counter, func.coalesce(highest, 0) + 1, False)))


def _finish(connection: Connection, store: Store, before: _Before, ledger: Erased, reader: Reader) -> int:
    """Do what makes the past fit for now, and return how many persons were erased again."""
    with _session(connection, store) as session:
        moment = now(session)
        ahead = _ahead(int(moment.timestamp()))
        epoch = max(before.epoch, _epoch(connection, CameraRow.__table__, EventRow.__table__))  # type: ignore[arg-type]
        session.execute(update(CameraRow).values(owner=None, state=None, owner_epoch=ahead(epoch)))
        highest = session.scalar(select(func.max(Building.gallery_sequence))) or 0
        _renumber_galleries(session, before.persons, ahead(max(before.sequence, highest)))
        _end_keys(session, before)
        old = select(EventRow.id).where(EventRow.occurred_at < moment - REMEMBERED)
        session.execute(delete(Outbox).where(Outbox.event_id.in_(old)))
        sealing.register(session)
        again = _erase_again(session, ledger | before.erased | tombstones.listing(session))
        detail = {"made_at": reader.manifest.made_at, "erased_again": again}
        audit.add(session, ACTOR, "backup.restored", detail=detail)
        session.commit()  # of the session alone: the transaction is the connection's
    return again


def _end_keys(session: Session, before: _Before) -> None:
    """Let no key live longer than the replaced database said: it may have leaked."""
    for key in session.scalars(select(ApiKey).where(ApiKey.id.in_(before.ended))):
        revoked, expires = before.ended[key.id]
        key.revoked_at = revoked or key.revoked_at
        key.expires_at = min((one for one in (key.expires_at, expires) if one is not None), default=None)


def _ahead(clock: int) -> Callable[[int], int]:
    """Return how a number jumps: to the seconds of the clock, so that restoring one backup twice gives two numbers."""
    return lambda highest: clock if clock > highest else highest + LEAP


def _renumber_galleries(session: Session, former: set[tuple[str, str]], start: int) -> None:
    """Let everybody be a change that nobody has followed yet, and so those who are not in the backup."""
    session.execute(delete(GalleryChange))
    present = {(row[0], row[1]) for row in session.execute(select(PersonRow.building_id, PersonRow.id))}
    for building in session.scalars(select(Building).with_for_update()).all():
        mine = sorted(person for home, person in present | former if home == building.id)
        changes = [GalleryChange(building_id=building.id, sequence=start + n, person_id=p) for n, p in enumerate(mine)]
        session.add_all(changes)
        building.gallery_sequence = start + len(mine)
    session.flush()


def _erase_again(session: Session, erased: Erased) -> int:
    again = 0
    for person, (building, at) in erased.items():
        with suppress(NotFoundError):  # the backup does not have everybody who was erased
            removal.remove_person(session, building, person, ACTOR)
            again += 1
        session.merge(Tombstone(person_id=person, building_id=building, erased_at=at))
        session.merge(StreamRemoval(subject=person, at=at))  # the replaced database may have had to do that still
    return again
