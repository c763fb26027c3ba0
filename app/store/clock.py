"""The one clock of a database, so that leases do not depend on how well the clocks of several machines agree."""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store.tables import UtcTime


def now(session: Session) -> datetime:
    """Return the database's time now, aware and in UTC.

    SQLite lives in this process, so its clock is ours. PostgreSQL's `now()` stands still within a transaction, which
    may have waited for a lock; `clock_timestamp()` does not.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    return session.execute(select(func.clock_timestamp(type_=UtcTime()))).scalar_one()
