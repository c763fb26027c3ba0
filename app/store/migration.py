"""Runs the migrations of the top-level folder ``migrations``, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from app.errors import SetupError
from app.keyring import Keyring
from app.store.sealing import prepare

FOLDER = Path(__file__).parents[2] / "migrations"
LOCK = 0xCA2DEA  # any number that nobody else uses in this PostgreSQL database


def upgrade(engine: Engine, keyring: Keyring, revision: str = "head") -> None:
    """Bring the database to a revision, by default the newest.

    Raises:
        SetupError: the migrations are not where the package expects them, the key file is missing, or a newer version
            of the product has written this database.
    """
    with migrating(engine, keyring) as config:
        known = ScriptDirectory.from_config(config)
        present = MigrationContext.configure(config.attributes["connection"]).get_current_revision()
        if present is not None and present not in {script.revision for script in known.walk_revisions()}:
            raise SetupError(
                f"the database is at revision {present}, which a newer version of Cardea made: install that"
            )
        command.upgrade(config, revision)


def revisions(connection: Connection) -> tuple[str | None, str | None]:
    """Return the revision of the database and the newest one that this version knows."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    return MigrationContext.configure(connection).get_current_revision(), newest


@contextmanager
def migrating(engine: Engine, keyring: Keyring) -> Iterator[Config]:
    """Give Alembic one transaction, in which all of the migrations happen or none, and keep other processes out.

    Raises:
        SetupError: the migrations are not where the package expects them, or the key file is missing.
    """
    if not (FOLDER / "env.py").is_file():
        raise SetupError(f"there are no migrations in {FOLDER}: install the whole package again")
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Altering a table there means dropping the old one, whose children would follow it.
            connection.connection.execute("PRAGMA foreign_keys=off")
        try:
            with connection.begin():
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SET LOCAL lock_timeout = 0"))
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                prepare(connection, keyring)
                config.attributes["connection"] = connection
                config.attributes["keyring"] = keyring
                yield config
        finally:
            connection.invalidate()  # the next user gets a connection with foreign keys
