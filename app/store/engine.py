"""The database behind a URL: connections, transactions, migrations.

`Store.session` is the only place that commits or rolls back, and it does so once. `Store.reading` sees one moment of
the database and cannot write. SQLite and PostgreSQL behave alike from here on.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.errors import FeatureNotSupported, ReadOnlySqlTransaction
from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import SetupError, StoreUnavailableError
from app.keyring import Keyring

LOCK_SECONDS = 5  # how long a statement waits for somebody else's transaction
STATEMENT_SECONDS = 60  # PostgreSQL ends what takes longer; migrations take what they need

# What a query returns is what the database holds now, whatever the session has seen before. (`Session.get` needs to be
# told so each time.)
FRESH = {"populate_existing": True, "synchronize_session": False}
READING: dict[str, dict[str, Any]] = {
    "sqlite": {"reading": True},  # see _begin_sqlite
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}

# What a server says that only reads: of a change, and of the beginning of a transaction that might make one.
STANDBY = (ReadOnlySqlTransaction, FeatureNotSupported)

# A network that is cut shows itself in about ten seconds, instead of after two hours.
POSTGRESQL_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}


def make_engine(url: str) -> Engine:
    """Return an engine for ``sqlite:///path`` or ``postgresql+psycopg://...``; nothing is connected yet.

    The folder and file of an SQLite database are made here, for their owner alone.

    Raises:
        SetupError: the URL cannot be used. The message never holds it, because of the password.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise SetupError("the database URL cannot be read; it begins with postgresql:// or sqlite:///") from None
    if parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return _sqlite(url, Path(str(parsed.database)))
    if parsed.drivername == "postgresql+psycopg":
        return _postgresql(url)
    raise SetupError(f"cannot store in {parsed.drivername!r}; use postgresql:// or sqlite:/// with a file")


def _sqlite(url: str, file: Path) -> Engine:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))  # its log and shared memory take over this mode
    except OSError as error:
        raise SetupError(f"the database file {file} cannot be opened: {error.strerror}") from error
    engine = create_engine(url, hide_parameters=True, pool_size=5, max_overflow=35, pool_timeout=LOCK_SECONDS)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _begin_sqlite
    for pragma in (
        "journal_mode=wal",
        # A commit survives SIGKILL with NORMAL too, but a power cut could take the last commits back. A camera's owner
        # epoch would then be given out twice and new events would bear the ids of old ones. That is worth an fsync.
        "synchronous=full",
        "foreign_keys=on",
        f"busy_timeout={LOCK_SECONDS * 1000}",
        "secure_delete=on",  # what is erased is overwritten with zeros
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(value: str | None) -> str | None:
    """Stand in for SQLite's own `lower`, which knows the English letters alone."""
    return None if value is None else value.lower()


def _begin_sqlite(connection: Connection) -> None:
    """Begin as a reader or as the writer at once: a reader that turns into a writer later may fail without waiting."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql(f"PRAGMA query_only={int(reading)}")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _postgresql(url: str) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=15,
        pool_timeout=LOCK_SECONDS,
        connect_args=POSTGRESQL_CONNECT,
        isolation_level="READ COMMITTED",
    )
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_postgresql(connection: Any, _record: object) -> None:
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
    connection.commit()


def _close(_connection: object, entry: ConnectionPoolEntry) -> None:
    entry.invalidate()


class Store:
    """One database and the keys that seal parts of it. Threads may share it; processes may not."""

    def __init__(self, url: str, keyring: Keyring) -> None:
        """Prepare the engine.

        Raises:
            SetupError: the URL cannot be used.
        """
        self.engine = make_engine(url)
        self.keyring = keyring
        self.sqlite = self.engine.dialect.name == "sqlite"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a transaction that writes; it commits when the block ends and rolls back when the block raises.

        SQLite has one writer at a time: keep the block short and wait for nothing in it.

        Raises:
            StoreUnavailableError: the database cannot be reached or stays locked. The commit may have happened.
        """
        with self._scope({}) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a transaction that cannot write and sees the database as it was at its first query.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        with self._scope(READING[self.engine.dialect.name]) as session:
            yield session

    @contextmanager
    def _scope(self, options: dict[str, Any]) -> Iterator[Session]:
        session = Session(self.engine, expire_on_commit=False, execution_options=FRESH | options)
        session.info["keyring"] = self.keyring
        with self.errors(), session, session.begin():
            yield session

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the driver raises in the block into `StoreUnavailableError` where that is what it means."""
        try:
            yield
        except (exc.OperationalError, exc.InterfaceError) as error:
            if "no such column" in str(error.orig):  # SQLite counts a defect of ours among these
                raise
            raise StoreUnavailableError(f"the database does not answer: {error.orig}") from error
        except (exc.InternalError, exc.NotSupportedError) as error:
            if not isinstance(error.orig, STANDBY):
                raise
            raise StoreUnavailableError(f"the database takes no changes now: {error.orig}") from error
        except exc.TimeoutError as error:
            raise StoreUnavailableError("all connections to the database are busy") from error

    def migrate(self) -> None:
        """Bring the tables up to this version of the product; without effect when they are.

        The first time this makes the key file.

        Raises:
            SetupError: the migrations are not installed beside the package, or a key of this database is missing.
            StoreUnavailableError: the database cannot be reached.
        """
        from app.store import sealing  # noqa: PLC0415 - it needs the tables, which need nothing of this module
        from app.store.migration import upgrade  # noqa: PLC0415 - Alembic costs every process 0.8 s and 38 MB

        with self.errors():
            upgrade(self.engine, self.keyring)
        with self.session() as session:
            sealing.register(session)

    def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            StoreUnavailableError: it gives none.
        """
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def renew(self) -> None:
        """Go on with new connections and queries: what the present ones keep may tell of rows that are gone.

        A connection keeps pages and buffers; one in use is closed when it is given back. A compiled query keeps the
        values of its first use.
        """
        self.engine.clear_compiled_cache()
        old = self.engine.pool
        self.engine.dispose(close=False)
        event.listen(old, "checkin", _close)
        old.dispose()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
