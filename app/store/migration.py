"""Runs the migrations of the top-level folder ``migrations``, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from app.errors import SetupError
from app.keyring import Keyring
from app.store.sealing import prepare

FOLDER = Path(__file__).parents[2] / "migrations"
LOCK = 0xCA2DEA  # any number that nobody else uses in this PostgreSQL database


def upgrade(engine: Engine, keyring: Keyring, revision: str = "head") -> None:
    """Bring the database to a revision, by default the newest.

    Raises:
        SetupError: the migrations are not where the package expects them, or the key file is missing.
    """
    with migrating(engine, keyring) as config:
        command.upgrade(config, revision)


@contextmanager
def migrating(engine: Engine, keyring: Keyring) -> Iterator[Config]:
    """Give Alembic one transaction, in which all of the migrations happen or none, and keep other processes out.

    Raises:
        SetupError: the migrations are not where the package expects them, or the key file is missing.
    """
    if not (FOLDER / "env.py").is_file():
        raise SetupError(f"there are no migrations in {FOLDER}; run from a checkout or copy its folder there")
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
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                prepare(connection, keyring)
                config.attributes["connection"] = connection
                config.attributes["keyring"] = keyring
                yield config
        finally:
            connection.invalidate()  # the next user gets a connection with foreign keys
