"""PostgreSQL and Redis stop, read only, are full, slow, locked, cut off or emptied, all under one running house.

The resident comes every few seconds, and each fault lasts over one visit. While the gallery cannot be confirmed, the
visit is undecided; while only the way to the door is blocked, it is granted, and too late for the door. The API says
503, never 500. That cameras fail and that Redis is killed is in `test_faults.py`.
"""

import errno
import logging
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import psycopg
import pytest
from fixtures_door import add_camera, enrol_portrait
from fixtures_faults import House, check_books, door_controller
from fixtures_proxy import Proxy, running_proxy
from fixtures_redis import RedisServer, wait_until
from fixtures_store import PostgresServer, store_at
from prometheus_client import CollectorRegistry

from app.cli.demo_clip import RESIDENT
from app.cli.process import first_key, working
from app.cli.web import api_server, serving
from app.settings import Settings
from app.store import outbox
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.pipeline import Nets
from workers.simulator.clip import Clip
from workers.simulator.hosting import running_camera
from workers.worker import BEAT, STALE, Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

PERIOD = 7.0  # seconds from one visit to the next
FROM, UNTIL = 2.4, 9.4  # of a fault, in seconds after a visit's grant: the next visit is all in it
ROOM = "96m"  # of the file system that is filled


@dataclass
class Tower:
    """A house on PostgreSQL behind a proxy, with its API."""

    house: House
    worker: Worker
    client: httpx2.Client
    server: PostgresServer
    proxy: Proxy
    disk: Path | None  # a small file system of the database alone, where one can be mounted
    first: datetime  # capture of the first grant

    def until(self, phase: float) -> None:
        """Wait for a moment after a visit."""
        since = (datetime.now(UTC) - self.first).total_seconds()
        time.sleep((phase - since) % PERIOD)

    def well(self) -> bool:
        """Whether the worker may grant and everything decided is in the stream."""
        if not self.worker.may_grant(time.monotonic()) or self.client.get("/readyz").status_code != 200:
            return False
        with self.house.store.reading() as session:
            return outbox.backlog(session).waiting == 0

    def decisions(self, began: datetime, ended: datetime) -> list[tuple[str, list[str]]]:
        """What was decided of visits in a span of time, as far as it has reached the stream."""
        told = [event["data"] for event in self.house.sent("org.cardea.access.")]
        within = [data for data in told if began < datetime.fromisoformat(data["captured_at"]) < ended]
        return [(data["decision"], data["reasons"]) for data in within]


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A file system that is soon full; None where none can be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="cardea-disk-", dir="/tmp"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], capture_output=True)
    try:
        if mounted.returncode == 0:
            shutil.chown(folder, "postgres")
        yield folder if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        folder.rmdir()


@contextmanager
def database(server: PostgresServer, disk: Path | None) -> Iterator[None]:
    """A database "tower", on a disk of its own if there is one."""
    if disk is not None:
        server.execute(f"CREATE TABLESPACE tower LOCATION '{disk}'")
    server.execute("CREATE DATABASE tower" + (" TABLESPACE tower" if disk is not None else ""))
    with closing(store_at(server.url("tower"))) as store:
        store.migrate()
    try:
        yield
    finally:
        server.execute("DROP DATABASE tower WITH (FORCE)")
        if disk is not None:
            server.execute("DROP TABLESPACE tower")


@pytest.fixture(scope="module")
def tower(
    postgres_server: PostgresServer,
    brisk_clip: Clip,
    tmp_path_factory: pytest.TempPathFactory,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
) -> Iterator[Tower]:
    folder = tmp_path_factory.mktemp("tower")
    settings, nets, registry = Settings(worker="tower", port=0), Nets.open(), CollectorRegistry()
    redis_server = RedisServer(folder)
    redis_server.start()
    with ExitStack() as stack:
        stack.callback(redis_server.close)
        disk = stack.enter_context(small_disk())
        stack.enter_context(database(postgres_server, disk))
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cardea-px-", dir="/tmp")))
        proxy = stack.enter_context(running_proxy(sockets, postgres_server.folder))
        url = postgres_server.url("tower").replace(str(postgres_server.folder), str(sockets))
        store = stack.enter_context(closing(store_at(url)))
        camera = stack.enter_context(running_camera(brisk_clip))
        controller = stack.enter_context(door_controller(redis_server.url, folder))
        key = first_key(store)
        enrol_portrait(store, RESIDENT, portrait_files[RESIDENT], face_nets)
        add_camera(store, camera.url)
        address = stack.enter_context(serving(api_server(settings, store, redis_server.url, nets, registry)))
        worker = stack.enter_context(working(settings, store, redis_server.url, nets, registry))
        client = stack.enter_context(
            httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        )
        house = House(store, redis_server, camera, controller)
        wait_until(lambda: house.grants() > 0, seconds=60)
        first = datetime.fromisoformat(house.sent("org.cardea.access.granted")[0]["data"]["captured_at"])
        yield Tower(house, worker, client, postgres_server, proxy, disk, first)


def endure(
    tower: Tower, caplog: pytest.LogCaptureFixture, wrong: AbstractContextManager[None], readable: bool = False
) -> set[int]:
    """Let something be wrong during one visit; return the statuses of requests that would have written.

    Args:
        readable: whether heartbeat and gallery go on, so that the visit is granted: too late for any door.
    """
    caplog.set_level(logging.INFO)
    wait_until(tower.well)
    tower.until(FROM)
    statuses = set()
    with wrong:
        began = datetime.now(UTC)
        while (datetime.now(UTC) - began).total_seconds() < UNTIL - FROM:
            answer = tower.client.post("/v1/buildings/main/persons", json={"name": "Nobody"})
            statuses.add(answer.status_code)
            assert answer.status_code != 503 or answer.json()["type"].endswith("/store-unavailable"), answer.text
            time.sleep(0.5)
        ended = datetime.now(UTC)
        ready = tower.client.get("/readyz").status_code
    began += timedelta(seconds=STALE + BEAT)  # between heartbeats a database that only reads is followed
    seconds = wait_until(lambda: tower.well() and tower.decisions(began, ended))
    decisions = tower.decisions(began, ended)
    assert decisions == [("granted", ["matched"]) if readable else ("undecided", ["gallery_stale"])]
    print(f"\nwrites answered {sorted(statuses)}, /readyz {ready}, works again after {seconds:.1f} s")
    for record in caplog.records:
        if record.name.startswith("workers") and record.levelno >= logging.WARNING:
            print("  log:", record.getMessage().splitlines()[0])
    return statuses


def test_it_stops(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    @contextmanager
    def stopped() -> Iterator[None]:
        tower.server.stop()
        try:
            yield
        finally:
            tower.server.start()

    assert endure(tower, caplog, stopped()) == {503}


def test_it_only_reads(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    assert endure(tower, caplog, tower.server.reading_only()) == {503}


def test_its_disk_is_full(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    if tower.disk is None:
        pytest.skip("no file system can be mounted here")
    disk = tower.disk

    @contextmanager
    def full() -> Iterator[None]:
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space") as error:
            while True:
                filler.write(bytes(8192))
        assert error.value.errno == errno.ENOSPC
        try:
            yield
        finally:
            (disk / "filler").unlink()

    assert endure(tower, caplog, full(), readable=True) == {503}


def test_it_is_slow(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    @contextmanager
    def slow() -> Iterator[None]:
        tower.proxy.delay = 0.3
        try:
            yield
        finally:
            tower.proxy.delay = 0.0

    assert endure(tower, caplog, slow()) <= {201, 503}


def test_a_table_is_locked(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    @contextmanager
    def locked() -> Iterator[None]:
        with psycopg.connect(host=str(tower.server.folder), user="postgres", dbname="tower") as connection:
            connection.execute("LOCK TABLE workers, persons IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    assert endure(tower, caplog, locked()) == {503}


def test_it_is_cut_off(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    @contextmanager
    def cut_off() -> Iterator[None]:
        tower.proxy.frozen = True
        thaw = threading.Timer(UNTIL - FROM, setattr, (tower.proxy, "frozen", False))
        thaw.start()
        try:
            yield
        finally:
            thaw.join()

    assert endure(tower, caplog, cut_off()) <= {201, 503}


def test_redis_is_full(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    @contextmanager
    def full() -> Iterator[None]:
        known = len(tower.house.sent())
        tower.house.redis.client.config_set("maxmemory", "1mb")
        try:
            yield
            waiting = re.search(r"^cardea_outbox_events (\S+)$", tower.client.get("/metrics").text, re.MULTILINE)
            assert waiting is not None and float(waiting[1]) > 0
            assert len(tower.house.sent()) == known
        finally:
            tower.house.redis.client.config_set("maxmemory", "0")

    assert endure(tower, caplog, full(), readable=True) == {201}
    assert "raise the server's maxmemory" in caplog.text


def test_redis_loses_its_data(tower: Tower, caplog: pytest.LogCaptureFixture) -> None:
    """All is there again, first without a restart, then on a server without its files."""
    caplog.set_level(logging.INFO)
    for lose in (tower.house.redis.client.flushall, tower.house.redis.lose_everything):
        known = [event["id"] for event in tower.house.sent()]
        assert known
        lose()
        seconds = wait_until(lambda known=known: [event["id"] for event in tower.house.sent()][: len(known)] == known)
        print(f"\n{len(known)} events are in the stream again after {seconds:.1f} s")
    wait_until(lambda: "lost its data" in caplog.text)  # said when the last event is in again


def test_the_books_agree(tower: Tower) -> None:
    """After all of it: the resident is let in again, and no event was lost or doubled."""
    before = tower.house.grants()
    wait_until(lambda: tower.house.grants() > before, seconds=2 * PERIOD)
    assert tower.worker.failure is None
    check_books(tower.house)
