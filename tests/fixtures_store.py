"""Stores on both databases: an SQLite file per test, and a PostgreSQL server per run, emptied for each test."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import update

from app.keyring import Keyring
from app.store import cameras, people, workers
from app.store.clock import now
from app.store.engine import Store
from app.store.records import CameraFields, NewPhoto, PersonFields, PersonRecord
from app.store.tables import Base, Building, Worker
from app.types import AccessEvent, Array, Camera, CameraEvent, CameraState, Decision, Reason

SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "listen_addresses=")


@dataclass(frozen=True)
class PostgresServer:
    """A real server of this run alone, reached through a socket in its own folder."""

    programs: Path
    folder: Path

    def run(self, *command: str) -> None:
        """Run one of PostgreSQL's programs, as the user `postgres` if we are root, whom the server refuses."""
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        words = [*user, str(self.programs / command[0]), *command[1:]]
        subprocess.run(words, cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=60)

    def start(self) -> None:
        settings = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"unix_socket_directories={self.folder}"))
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-s", "-o", settings, "start")

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "-w", "-s", "stop")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def execute(self, statement: str) -> None:
        self.execute_in("postgres", statement)

    def execute_in(self, database: str, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), user="postgres", dbname=database, autocommit=True) as connection:
            connection.execute(statement)

    @contextlib.contextmanager
    def reading_only(self) -> Iterator[None]:
        """Be a standby, which takes no changes, and then the primary again, as after a switch-over gone wrong."""
        self.stop("fast")
        (self.folder / "data" / "standby.signal").touch()
        self.start()
        try:
            yield
        finally:
            self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-s", "promote")


def _programs() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    candidates = [*installed[::-1], *([Path(found).resolve()] if found else [])]
    return candidates[0].parent if candidates else None


@pytest.fixture(scope="session", autouse=True)
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The key file of this run, for the processes that tests start too."""
    file = tmp_path_factory.mktemp("keys") / "encryption.keys"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CARDEA_KEY_FILE", str(file))
        yield file


def store_at(url: str) -> Store:
    """The store behind a URL, with the keys of this run."""
    return Store(url, Keyring(Path(os.environ["CARDEA_KEY_FILE"])))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL server; without its programs the test is skipped, but never in CI."""
    programs = _programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="cardea-pg-", dir="/tmp") as name:  # short: a socket path has 107 bytes
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        server = PostgresServer(programs, folder)
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        server.run("initdb", "-D", f"{folder}/data", *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_database(postgres_server: PostgresServer, key_file: Path) -> str:
    """URL of a migrated database, which the tests use in turn."""
    postgres_server.execute("CREATE DATABASE cardea")
    url = postgres_server.url("cardea")
    with contextlib.closing(store_at(url)) as store:
        store.migrate()
    return url


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_database: str) -> str:
    """URL of a migrated PostgreSQL database as new: emptying one is quicker than cloning one."""
    others = "datname = 'cardea' AND pid != pg_backend_pid()"
    postgres_server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
    with contextlib.closing(store_at(postgres_database)) as store, store.session() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete().where(table.c.id != "main") if table.name == "buildings" else table.delete())
        session.execute(update(Building).values(gallery_sequence=0))
    return postgres_database


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Path:
    """A migrated SQLite file to copy."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    with contextlib.closing(store_at(f"sqlite:///{file}")) as store:
        store.migrate()
    return file


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a migrated SQLite database of this test alone."""
    file = tmp_path / "store" / "cardea.db"
    file.parent.mkdir(mode=0o700)
    shutil.copy(sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """URL of a migrated database: the test runs once on SQLite and once on PostgreSQL."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A migrated, empty store: the test runs once on SQLite and once on PostgreSQL."""
    with contextlib.closing(store_at(store_url)) as opened:
        yield opened


def unit_vector(seed: int, dimension: int = 16) -> Array:
    """A random direction, (dimension,) of unit length."""
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def enrol(
    store: Store, name: str, seed: int, image: bytes = b"picture", embedder: str = "net", **more: object
) -> PersonRecord:
    """A person of "main" with one photo, whose template is ``unit_vector(seed)`` of this embedder."""
    photo = NewPhoto(image, "image/jpeg", 640, 480, 0.8)
    with store.session() as session:
        person = people.create(session, "main", PersonFields(name, **more))  # type: ignore[arg-type]
        people.add_photo(session, "main", person.id, photo, embedder=embedder, vector=unit_vector(seed))
        return people.get(session, "main", person.id)


def claimed_camera(store: Store, worker: str = "watcher") -> Camera:
    """A camera of "main" that `worker` has just claimed."""
    with store.session() as session:
        workers.start(session, worker, uuid.uuid4().hex)
        made = cameras.create(session, "main", CameraFields("Front door", "rtsp://user:hush@camera/1"))
        cameras.claim(session, worker)
        return next(camera for camera in cameras.watched(session, worker) if camera.id == made.id)


def silence(store: Store, worker: str, seconds: float) -> None:
    """Let the last heartbeat of a worker be so long ago."""
    with store.session() as session:
        session.execute(
            update(Worker).where(Worker.id == worker).values(seen_at=now(session) - timedelta(seconds=seconds))
        )


def access_event(camera: Camera, sequence: int, **changes: Any) -> AccessEvent:
    """An event of a camera, `sequence` seconds after noon."""
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=sequence)
    event = AccessEvent(
        id=f"{camera.id}.{camera.owner_epoch}.{sequence}",
        sequence=sequence,
        owner_epoch=camera.owner_epoch,
        building=camera.building,
        camera=camera.id,
        door=camera.door,
        visit=f"visit-{sequence}",
        decision=Decision.UNKNOWN,
        reasons=(Reason.BELOW_THRESHOLD,),
        person=None,
        person_name=None,
        similarity=0.125,
        threshold=0.5,
        margin=0.0625,
        quality=0.75,
        box=(0.25, 0.125, 0.5, 1.0),
        nets={"embedder": "net@0123456789ab"},
        captured_at=moment - timedelta(milliseconds=123),
        decided_at=moment,
        expires_at=moment + timedelta(seconds=5),
        latency_ms={"embed": 3.5},
        snapshot=b"snapshot",
    )
    return replace(event, **changes)


def camera_event(camera: Camera, sequence: int, state: CameraState = CameraState.ONLINE) -> CameraEvent:
    """A change of state of a camera, `sequence` seconds after noon."""
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=sequence)
    return CameraEvent(
        id=f"{camera.id}.{camera.owner_epoch}.{sequence}",
        sequence=sequence,
        owner_epoch=camera.owner_epoch,
        building=camera.building,
        camera=camera.id,
        state=state,
        previous=None,
        detail="no route to host",
        at=moment,
    )
