"""From a decision to the stream, over real databases and a real Redis that are killed, hung, filled and shared.

In every case each event arrives once, and the events of a camera in their order.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import sqlalchemy
from fixtures_redis import STREAM, RedisServer, make_event, open_stream, wait_until
from fixtures_store import PostgresServer, store_at

from app.events import EventStream
from app.store import cameras, events, outbox, workers
from app.store.engine import Store
from app.store.records import CameraFields
from app.types import AccessEvent, Decision, Event
from workers.outbox import OutboxSender
from workers.writer import EventWriter

CAMERAS = 3

# For each number on its input it forks a sender, which kills itself between the stream's yes and the database's for its
# n-th event, or with 0 is left to be killed. The fork saves the imports; it happens before there are threads.
KILLED_SENDERS = """
import os, signal, sys, threading
from pathlib import Path
from app.events import EventStream
from app.keyring import Keyring
from app.store.engine import Store
from workers.outbox import OutboxSender

database, redis, stream = sys.argv[1:]
sent = []

def send(fatal):
    def on_sent(event, seconds):
        sent.append(event)
        if len(sent) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    store = Store(database, Keyring(Path(os.environ["CARDEA_KEY_FILE"])))
    OutboxSender(store, EventStream(redis, stream, 100000), on_sent).start()
    threading.Event().wait()

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        send(int(line))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def ignore(*_: object) -> None:
    """For those who are told more than this test asks."""


@pytest.fixture
def redis_server(redis_server: RedisServer) -> RedisServer:
    """A server that was used before: what comes into its stream comes from the outbox."""
    with open_stream(redis_server.url):
        return redis_server


@contextlib.contextmanager
def sending(
    store: Store, server: RedisServer, on_sent: Callable[[Event, float], None] = ignore
) -> Iterator[OutboxSender]:
    with contextlib.closing(EventStream(server.url, STREAM, 100_000)) as stream:
        sender = OutboxSender(store, stream, on_sent)
        sender.start()
        try:
            yield sender
        finally:
            sender.stop(drain_seconds=2)


@contextlib.contextmanager
def writing(
    store: Store,
    on_stored: Callable[[], None] = ignore,
    on_stale: Callable[[str, int], None] = ignore,
    pictures: int = 500,
) -> Iterator[EventWriter]:
    writer = EventWriter(store, on_stored, on_stale, pictures)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop(drain_seconds=10)


def own_cameras(store: Store) -> list[str]:
    """Make cameras and claim them for one worker: all are in owner epoch 1."""
    with store.session() as session:
        made = [cameras.create(session, "main", CameraFields(f"Door {i}", "clip.mp4")).id for i in range(CAMERAS)]
        workers.start(session, "first", "incarnation")
        cameras.claim(session, "first")
    return made


@pytest.fixture
def owned(store: Store) -> list[str]:
    return own_cameras(store)


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[Store]:
    with contextlib.closing(store_at(postgres_url)) as opened:
        yield opened


class Source:
    """Makes events of all cameras in turn, each numbered as its owner would."""

    def __init__(self, owned: list[str]) -> None:
        self._owned = owned
        self.made: list[str] = []

    def make(self, count: int) -> list[AccessEvent]:
        made = []
        for _ in range(count):
            turn, camera = divmod(len(self.made), len(self._owned))
            made.append(make_event(turn + 1, camera=self._owned[camera]))
            self.made.append(made[-1].id)
        return made


@pytest.fixture
def source(owned: list[str]) -> Source:
    return Source(owned)


def fill(store: Store, source: Source, count: int) -> None:
    with writing(store) as writer:
        for event in source.make(count):
            writer.put(event)


def delivered(server: RedisServer) -> list[str]:
    return [json.loads(fields["event"])["id"] for _, fields in server.client.xrange(STREAM)]


def arrivals(server: RedisServer) -> int:
    return int(server.client.xlen(STREAM))


def backlog(store: Store) -> int:
    with store.reading() as session:
        return outbox.backlog(session).waiting


def check(server: RedisServer, source: Source) -> None:
    """Nothing lost, nothing doubled, no two events of one camera exchanged."""
    arrived = delivered(server)
    assert len(arrived) == len(set(arrived))
    assert set(arrived) == set(source.made)
    order: dict[str, list[int]] = defaultdict(list)
    for event in arrived:
        camera, _, sequence = event.rsplit(".", 2)
        order[camera].append(int(sequence))
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_a_stored_event_is_sent_at_once(store: Store, redis_server: RedisServer, source: Source) -> None:
    sent: list[tuple[str, float]] = []
    arrived = threading.Semaphore(0)

    def on_sent(event: Event, seconds: float) -> None:
        sent.append((event.id, seconds))
        arrived.release()

    with sending(store, redis_server, on_sent) as sender, writing(store, sender.wake) as writer:
        for event in source.make(12):
            writer.put(event)
            assert arrived.acquire(timeout=10)
    assert [identity for identity, _ in sent] == source.made
    assert all(0 <= seconds < 10 for _, seconds in sent)
    check(redis_server, source)
    assert backlog(store) == 0


def test_what_others_stored_is_found_without_being_woken(
    store: Store, redis_server: RedisServer, source: Source
) -> None:
    with sending(store, redis_server):
        fill(store, source, 3)
        wait_until(lambda: arrivals(redis_server) == 3)


def test_the_stream_is_away_and_returns(
    store: Store, redis_server: RedisServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = 3  # a minute's outage is in the end-to-end tests
    with sending(store, redis_server) as sender, writing(store, sender.wake) as writer:
        for event in source.make(30):
            writer.put(event)
        wait_until(lambda: arrivals(redis_server) > 5)
        redis_server.kill()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            writer.put(source.make(1)[0])
            time.sleep(0.05)
        assert sender.outage_seconds > seconds / 2
        redis_server.start()
        recovered = wait_until(lambda: arrivals(redis_server) == len(source.made))
        wait_until(lambda: not sender.outage_seconds)
    check(redis_server, source)
    assert backlog(store) == 0
    told = [record.getMessage() for record in caplog.records if record.name == "workers.outage"]
    assert 2 <= len(told) <= 4 and "is away" in told[0] and "is back" in told[-1]  # each reason once
    print(f"\nstream away {seconds} s: {len(source.made)} events, all delivered {recovered:.2f} s after it answered")


def test_the_stream_hangs_and_goes_on(store: Store, redis_server: RedisServer, source: Source) -> None:
    """Its commands wait in the socket while we take it for dead and send again: both copies reach it."""
    with sending(store, redis_server) as sender, writing(store, sender.wake) as writer:
        writer.put(source.make(1)[0])
        wait_until(lambda: arrivals(redis_server) == 1)  # the sender is connected: what it sends now gets there
        redis_server.pause()
        for event in source.make(20):
            writer.put(event)
        wait_until(lambda: sender.outage_seconds > 1)
        redis_server.resume()
        wait_until(lambda: arrivals(redis_server) == len(source.made))
    check(redis_server, source)


def test_the_stream_is_full_and_then_is_not(store: Store, redis_server: RedisServer, source: Source) -> None:
    redis_server.client.config_set("maxmemory", "1mb")
    with sending(store, redis_server) as sender, writing(store, sender.wake) as writer:
        for event in source.make(20):
            writer.put(event)
        wait_until(lambda: sender.outage_seconds > 0.5)
        redis_server.client.config_set("maxmemory", "0")
        wait_until(lambda: arrivals(redis_server) == len(source.made))
    check(redis_server, source)


def test_a_sender_is_killed_again_and_again(
    store: Store, store_url: str, redis_server: RedisServer, source: Source
) -> None:
    moments = random.Random(7)
    words = [sys.executable, "-c", KILLED_SENDERS, store_url, redis_server.url, STREAM]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as senders:
        assert senders.stdin is not None and senders.stdout is not None
        for round_number in range(8):
            by_the_clock = round_number % 2 == 0
            fill(store, source, 60)
            print(0 if by_the_clock else moments.randint(1, 60), file=senders.stdin, flush=True)
            process = int(senders.stdout.readline())
            if by_the_clock:
                time.sleep(moments.uniform(0.02, 0.15))
                os.kill(process, signal.SIGKILL)
            assert senders.stdout.readline() == f"{-signal.SIGKILL}\n"
            sent_and_waiting = arrivals(redis_server) + backlog(store) - len(source.made)
            assert sent_and_waiting > 0 or by_the_clock
    with sending(store, redis_server):
        wait_until(lambda: backlog(store) == 0)
    check(redis_server, source)


def test_senders_share_an_outbox(store: Store, store_url: str, redis_server: RedisServer, source: Source) -> None:
    with contextlib.ExitStack() as stack:
        senders = []
        for _ in range(3):
            own = stack.enter_context(contextlib.closing(store_at(store_url)))
            senders.append(stack.enter_context(sending(own, redis_server)))

        def wake_all() -> None:
            for sender in senders:
                sender.wake()

        writer = stack.enter_context(writing(store, wake_all))
        for _ in range(60):
            for event in source.make(5):
                writer.put(event)
            time.sleep(0.005)
        wait_until(lambda: backlog(store) == 0)
    check(redis_server, source)


def test_a_late_sender_strikes_off_only_what_it_had_in_hand(store: Store, source: Source) -> None:
    """SQLite gives the place of a row that is gone to the next one."""
    fill(store, source, 1)
    with outbox.batch(store, 10) as late:
        with outbox.batch(store, 10) as quick:
            assert [record.event.id for record in quick] == [record.event.id for record in late]
        fill(store, source, 1)
    assert backlog(store) == 1


def test_a_sender_that_stands_still_lets_nobody_overtake(
    store: Store, store_url: str, redis_server: RedisServer, source: Source
) -> None:
    """While one sender has a batch in hand, another begins with the oldest event, not with the ones behind it."""
    reached, go_on = threading.Event(), threading.Event()

    def stand_still(event: Event, _: float) -> None:
        if event.id == source.made[1]:
            reached.set()
            go_on.wait(20)

    fill(store, source, 6)
    with sending(store, redis_server, stand_still):
        assert reached.wait(20)
        fill(store, source, 54)
        with contextlib.closing(store_at(store_url)) as own, sending(own, redis_server):
            wait_until(lambda: arrivals(redis_server) >= 60)
        go_on.set()
    check(redis_server, source)
    assert backlog(store) == 0


def test_what_cannot_be_sent_before_the_end_is_sent_by_the_next(
    store: Store, redis_server: RedisServer, source: Source
) -> None:
    redis_server.kill()
    with sending(store, redis_server), writing(store) as writer:
        for event in source.make(5):
            writer.put(event)
    assert backlog(store) == 5
    redis_server.start()
    with sending(store, redis_server):
        pass  # stopping sends what waits
    check(redis_server, source)
    assert backlog(store) == 0


def test_a_worker_that_lost_its_camera_stores_nothing_more(
    store: Store, redis_server: RedisServer, owned: list[str], source: Source
) -> None:
    lost: list[str] = []
    fill(store, source, 6)
    with store.session() as session:
        workers.start(session, "first", "next incarnation")
        workers.start(session, "second", "incarnation")
        cameras.claim(session, "second")
    with writing(store, on_stale=lambda camera, epoch: lost.append(camera)) as writer:
        writer.put(make_event(3, camera=owned[0]))
        writer.put(make_event(1, camera=owned[0], owner_epoch=2))
        source.made.append(f"{owned[0]}.2.1")
    assert lost == [owned[0]]
    with sending(store, redis_server):
        pass
    arrived = delivered(redis_server)
    assert arrived == source.made  # what the first owner stored in time comes first, and comes


def test_an_event_is_stored_once_however_often_it_is_put(
    store: Store, redis_server: RedisServer, source: Source
) -> None:
    (event,) = source.make(1)
    with writing(store) as writer:
        writer.put(event)
        writer.put(event)
    assert backlog(store) == 1


def test_an_event_that_cannot_be_stored_stops_no_other(
    store: Store, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = source.make(2)
    with writing(store) as writer:
        writer.put(replace(bad, nets={"detector": object()}))
        writer.put(good)
    with store.reading() as session:
        assert [record.event.id for record in events.listing(session, "main", 10).items] == [good.id]
    assert f"event {bad.id} cannot be stored" in caplog.text


def test_the_database_is_away_and_returns(
    postgres_server: PostgresServer, postgres_url: str, postgres_store: Store, redis_server: RedisServer
) -> None:
    database = urlsplit(postgres_url).path.lstrip("/")
    source = Source(own_cameras(postgres_store))
    with sending(postgres_store, redis_server) as sender, writing(postgres_store, sender.wake) as writer:
        for event in source.make(10):
            writer.put(event)
        wait_until(lambda: arrivals(redis_server) == 10)
        postgres_server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        postgres_server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        for event in source.make(10):
            writer.put(event)
        wait_until(lambda: writer.outage_seconds > 1 and sender.outage_seconds > 1)
        assert writer.waiting == 10
        postgres_server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        wait_until(lambda: arrivals(redis_server) == 20)
    check(redis_server, source)


def test_the_database_is_locked_for_long(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile events wait in memory, the later ones without their picture; `stop` writes them all."""
    monkeypatch.setattr("app.store.engine.LOCK_SECONDS", 1)
    with contextlib.closing(store_at(sqlite_url)) as store:
        source = Source(own_cameras(store))
        with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN IMMEDIATE")
            with writing(store, pictures=4) as writer:
                for event in source.make(9):
                    writer.put(replace(event, decision=Decision.UNKNOWN, person=None, person_name=None))
                wait_until(lambda: writer.outage_seconds > 0.5)
                assert writer.waiting == 9
                other.rollback()
        with store.reading() as session:
            stored = {record.event.id: record.has_snapshot for record in events.listing(session, "main", 10).items}
    assert [stored[event] for event in source.made] == [True] * 4 + [False] * 5


def test_the_end_does_not_wait_for_ever(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A database that stays away at the end costs the events that wait, and that is said."""
    with contextlib.closing(store_at(sqlite_url)) as store:
        (event,) = Source(own_cameras(store)).make(1)
    away, tries = store_at("postgresql+psycopg://nobody@127.0.0.1:1/none"), []
    sqlalchemy.event.listen(away.engine, "do_connect", lambda *_: tries.append(time.monotonic()))
    writer = EventWriter(away, ignore, ignore)
    writer.start()
    writer.put(event)
    writer.stop(drain_seconds=0.5)
    assert not writer.alive
    assert len(tries) < 20, "it waits between tries also at the end"
    assert f"1 events are lost, the first is {event.id}" in caplog.text
