"""Backups: one file with everything that is worth keeping, as it was at one moment.

What is sealed in the database stays sealed in the file; it is worth nothing without the key file, so keep them apart.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import LargeBinary, MetaData, Table, select, text
from sqlalchemy.orm import Session

from app.errors import SealError, SetupError
from app.keyring import key_of
from app.store import archive
from app.store.archive import Manifest, Row
from app.store.engine import Store
from app.store.tables import Base

# Log-ins and replies are worth nothing later on, workers enter themselves, and half a bulk enrolment must not go on by
# itself: it might bring somebody back under another id.
LEFT_OUT = frozenset({"alembic_version", "sessions", "idempotent_replies", "workers", "operations", "operation_items"})
CHUNK = 100  # rows in memory at a time; a picture has some 100 kB
Progress = Callable[[str, int], None]  # table, rows so far


def write(store: Store, path: Path, product: str, progress: Progress = lambda table, rows: None) -> Manifest:
    """Write a backup of one moment, while everything goes on.

    The schema is read from the database, so that a backup can be made before an upgrade.

    Raises:
        SetupError: there is nothing to keep, no key file, or the file is there or cannot be written.
        StoreUnavailableError: the database does not answer.
    """
    keys = {store.keyring.current}
    with archive.writing(path) as writer, store.reading() as session:
        tables = reflected(session)
        if "alembic_version" not in tables.tables:
            raise SetupError("the database is empty: there is nothing to back up")
        revision = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        for table in tables.sorted_tables:
            if table.name in Base.metadata.tables and table.name not in LEFT_OUT:  # others are another program's
                writer.add(table, _rows(session, table, keys, progress))
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(product, revision, moment, sorted(keys), writer.members)
        writer.finish(manifest, store.keyring)
    return manifest


def reflected(session: Session) -> MetaData:
    """Return the tables as they are in the database."""
    found = MetaData()
    found.reflect(session.connection())
    return found


def _rows(session: Session, table: Table, keys: set[str], progress: Progress) -> Iterator[Row]:
    sealed = [column.name for column in table.columns if isinstance(column.type, LargeBinary)]
    query = select(table).order_by(*table.primary_key.columns)
    for count, found in enumerate(session.execute(query, execution_options={"yield_per": CHUNK}).mappings(), 1):
        row = dict(found)
        for name in sealed:
            if row[name] is not None:
                _note_key(row[name], keys)
        yield row
        if count % CHUNK == 0:
            progress(table.name, count)


def _note_key(value: bytes, keys: set[str]) -> None:
    try:
        keys.add(key_of(value))
    except SealError:  # written before there was sealing: the upgrade after a restore seals it
        return
