"""What a deletion leaves in the files of the database, and how it is overwritten."""

import re
import time
from contextlib import closing
from datetime import datetime

from psycopg.errors import Diagnostic
from sqlalchemy import Connection, exc, select, text

from app.store.engine import Store
from app.store.records import Remains, Removed
from app.store.tables import Tombstone

VACUUM_SECONDS = 3.0  # how long old transactions may keep a table from being written anew
VACUUM_LOCK = "500ms"  # whoever waits for this lock makes workers wait behind it
POLL = 0.1  # seconds
READABLE = ("persons", "corrections", "operation_items")  # tables with names, notes and external ids
NONE_KEPT = re.compile(r"\D*0\D")  # "0 dead row versions cannot be removed yet.", in any language


def readable(removed: Removed) -> tuple[str, ...]:
    """Return the tables whose dead rows can be read without the key file; all else is sealed or says nothing.

    One photo is sealed whole.
    """
    if not removed.whole:
        return ()
    rows = {"corrections": removed.corrections, "operation_items": removed.operation_items}
    return ("persons", *(table for table, count in rows.items() if count))


def wipe(store: Store, tables: tuple[str, ...]) -> Remains:
    """Remove erased bytes from the files of the database.

    SQLite overwrites deleted rows by itself; older versions of pages outlive the commit in its log, which is emptied
    here. PostgreSQL keeps dead rows in place, and a plain VACUUM only forgets where they are; so tables are written
    anew, indexes and all. Its log cannot be emptied from here.

    Args:
        tables: those in which something readable was deleted.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    if not store.sqlite:
        return Remains.UNTIL_LOG_TURNS if _rewrite(store, tables) else Remains.UNTIL_VACUUM
    with closing(store.engine.raw_connection()) as connection:  # a session would begin a transaction
        cursor = connection.cursor()
        busy, _pages, _copied = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return Remains.IN_LOG if busy else Remains.NONE


def wipe_again(store: Store, since: datetime) -> None:
    """Wipe once more when somebody was erased since then: a long transaction may have been in the way.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    with store.reading() as session:
        late = session.scalar(select(Tombstone.person_id).where(Tombstone.erased_at > since).limit(1))
    if late is not None:
        wipe(store, READABLE)


def _rewrite(store: Store, tables: tuple[str, ...]) -> bool:
    """Write tables anew until none has a dead row that somebody's older transaction may still see."""
    kept: list[str] = []  # what the server says of the dead rows that it had to keep

    def hear(notice: Diagnostic) -> None:
        kept.append(notice.message_detail or "")

    with store.errors(), store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.add_notice_handler(hear)
        connection.execute(text(f"SET lock_timeout = '{VACUUM_LOCK}'"))
        connection.execute(text("SET statement_timeout = 0"))  # large tables take their time
        try:
            return all(_rewritten(connection, table, kept) for table in tables)
        finally:
            connection.invalidate()  # the next user gets a connection as always


def _rewritten(connection: Connection, table: str, kept: list[str]) -> bool:
    deadline = time.monotonic() + VACUUM_SECONDS
    while True:
        kept.clear()
        try:
            connection.execute(text(f"VACUUM (FULL, VERBOSE) {table}"))
        except exc.OperationalError:  # somebody has a lock on the table for longer
            if connection.invalidated:  # or the server has gone away
                raise
            kept.clear()
        if any(NONE_KEPT.match(detail) for detail in kept):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
