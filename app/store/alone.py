"""Jobs that one process at a time may do."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from app.store.engine import Store

RETENTION = 0xCA2DEB  # the lock's number in PostgreSQL; migrations have another


@contextmanager
def alone(store: Store, job: int = RETENTION) -> Iterator[bool]:
    """Yield whether this process may do the job; the right ends with the block or with the process.

    PostgreSQL has locks for this. Processes that share an SQLite file share its folder, which is locked instead: to
    open and close the file itself would end SQLite's own locks.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    if store.sqlite:
        folder = os.open(Path(str(store.engine.url.database)).absolute().parent, os.O_RDONLY)
        try:
            yield _lock(folder)
        finally:
            os.close(folder)
        return
    with store.errors(), store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        ours = False
        try:  # no transaction stays open meanwhile: it would keep dead rows from being cleared away
            ours = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:job)"), {"job": job}))
            yield ours
        finally:
            if ours:  # at once: a connection that is closed gives its locks back a moment later
                connection.execute(text("SELECT pg_advisory_unlock(:job)"), {"job": job})


def _lock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
