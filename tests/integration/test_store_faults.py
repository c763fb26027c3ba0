"""Databases that answer and yet take nothing: read-only, full, locked; and clocks that are set wrong."""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fixtures_redis import wait_until
from fixtures_store import PostgresServer, access_event, camera_event, claimed_camera, store_at
from sqlalchemy import Connection, event, text, update

from app.errors import StoreUnavailableError
from app.store import cameras, census, events, workers
from app.store.clock import now
from app.store.engine import STATEMENT_SECONDS, Store
from app.store.tables import Worker
from workers.writer import EventWriter


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[Store]:
    with contextlib.closing(store_at(postgres_url)) as opened:
        yield opened


@contextlib.contextmanager
def writing(store: Store, **more: int) -> Iterator[EventWriter]:
    writer = EventWriter(store, lambda: None, lambda camera, epoch: None, **more)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop(drain_seconds=10)


def stored(store: Store) -> list[str]:
    with store.reading() as session:
        return sorted(record.event.id for record in events.listing(session, "main", 200).items)


def check_that_nothing_is_lost(store: Store, wrong: contextlib.AbstractContextManager[object]) -> None:
    """Events that come while something is wrong wait, and are stored when it is well again."""
    camera = claimed_camera(store)
    with writing(store) as writer:
        writer.put(access_event(camera, 1))
        wait_until(lambda: len(stored(store)) == 1)
        with wrong:
            for number in range(2, 12):
                writer.put(access_event(camera, number, snapshot=bytes(40_000)))
            wait_until(lambda: writer.outage_seconds > 0.3)
            assert writer.alive and writer.waiting
            store.check()  # reading goes on
        wait_until(lambda: not writer.waiting)
    assert len(stored(store)) == 11


def test_postgresql_that_only_reads(postgres_server: PostgresServer, postgres_store: Store) -> None:
    check_that_nothing_is_lost(postgres_store, postgres_server.reading_only())


def test_sqlite_that_is_full(sqlite_url: str) -> None:
    """The page limit leads to the same SQLITE_FULL as a disk without room."""
    with contextlib.closing(store_at(sqlite_url)) as store:
        check_that_nothing_is_lost(store, no_more_pages(store))


@contextlib.contextmanager
def no_more_pages(store: Store) -> Iterator[None]:
    """Let the file grow no further; the limit belongs to a connection, so each transaction sets it again."""
    limit = 1

    def set_limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={limit}")  # never less than the file has

    event.listen(store.engine, "begin", set_limit)
    try:
        yield
    finally:
        limit = 1_000_000


def test_a_full_queue_gives_up_what_comes_last(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(store_at(sqlite_url)) as store:
        camera = claimed_camera(store)
        with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN IMMEDIATE")
            with writing(store, limit=5) as writer:
                for number in range(1, 9):
                    writer.put(camera_event(camera, number))
                assert writer.waiting == 5
                other.rollback()
                wait_until(lambda: not writer.waiting)
                writer.put(camera_event(camera, 9))
        assert stored(store) == [f"{camera.id}.1.{number}" for number in (1, 2, 3, 4, 5, 9)]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told[0].startswith(f"5 events wait for the database; event {camera.id}.1.6 and later")
    assert told[1:] == ["3 events were lost while the database was away"]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_step_makes_no_lease_endless(store: Store, hours: int) -> None:
    """A worker that died before its database's clock was set back by an hour, or forward."""
    camera = claimed_camera(store, "dead")
    with store.session() as session:
        step = timedelta(hours=hours)
        session.execute(update(Worker).values(seen_at=now(session) - step))
    with store.reading() as session:
        assert workers.live(session) == []
        assert cameras.get(session, "main", camera.id).owner is None
        assert census.cameras_by_state(session) == {("main", "unwatched"): 1}
    with store.session() as session:
        workers.start(session, "next", "incarnation")
        assert cameras.claim(session, "next") == {camera.id}
        workers.heartbeat(session, "next", "incarnation", {"main": 0})
        assert [worker.id for worker in workers.live(session)] == ["next"]


def test_long_statements_end_and_migrations_may_take_longer(postgres_store: Store) -> None:
    with postgres_store.reading() as session:
        assert session.scalar(text("SHOW statement_timeout")) == f"{STATEMENT_SECONDS // 60}min"
    with pytest.raises(StoreUnavailableError), postgres_store.session() as session:
        session.execute(text("SET LOCAL statement_timeout = 100"))
        session.execute(text("SELECT pg_sleep(5)"))
    postgres_store.check()
