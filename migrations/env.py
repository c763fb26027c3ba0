"""How Alembic reaches the database: the product hands in a connection, ``alembic`` on a shell reads the settings."""

from alembic import context
from sqlalchemy import Connection

from app.settings import Settings
from app.store.engine import make_engine
from app.store.tables import Base


def run(connection: Connection) -> None:
    """Run the migrations in the connection's transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with make_engine(Settings().database()).begin() as own:
        run(own)
