"""What processes still have in their memory of somebody who was erased: all of it is searched."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fixtures_api import add_person, add_photo
from fixtures_door import ROOT, add_camera, enrol_portrait, worker_process
from fixtures_redis import STREAM, RedisServer, wait_until
from fixtures_store import store_at, unit_vector

from app.cli.demo_clip import RESIDENT, STRANGER
from app.photos import enrol, read_photo
from app.store import embedders, erasure, keys, outbox, people, workers
from app.store.engine import Store
from app.store.records import Forgotten, NewPhoto, PersonFields, Scope
from app.stream_erasure import StreamEraser
from app.types import Array
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.simulator.clip import Clip
from workers.simulator.hosting import running_camera

pytestmark = pytest.mark.timeout(120)
Nets = tuple[FaceFinder, Embedder]

NAME = "Zerlina Quastenflosser-Obermoser"
PIECE = 64  # bytes of a template that are searched for: 16 numbers


def found(process: int, marks: dict[str, bytes]) -> dict[str, int]:
    """How often each mark lies in the writable memory of a process."""
    counts = dict.fromkeys(marks, 0)
    areas = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", Path(f"/proc/{process}/maps").read_text(), re.MULTILINE)
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for start, end in areas:
            with contextlib.suppress(OSError):  # an area that is gone, or that nobody may read
                content = os.pread(memory.fileno(), int(end, 16) - int(start, 16), int(start, 16))
                for name, mark in marks.items():
                    counts[name] += content.count(mark)
    return counts


def pieces(vector: Array) -> dict[str, bytes]:
    data = vector.tobytes()
    return {
        f"{data[start : start + 4].hex()} from {start}": data[start : start + PIECE]
        for start in range(0, len(data), 4 * PIECE)
    }


def add_ben(store: Store, vector: Array, embedder: str) -> None:
    with store.session() as session:
        person = people.create(session, "main", PersonFields("Ben")).id
        photo = NewPhoto(b"picture", "image/jpeg", 640, 480, 0.8)
        people.add_photo(session, "main", person, photo, embedder=embedder, vector=vector)


def followed(store: Store, sequence: int) -> bool:
    with store.reading() as session:
        return any(
            worker.galleries.get("main") == sequence for worker in workers.live(session) if worker.id == "tester"
        )


def waiting(store: Store) -> int:
    with store.reading() as session:
        return outbox.backlog(session).waiting


def test_who_was_let_in_is_gone_from_a_worker(
    postgres_url: str, redis_server: RedisServer, face_nets: Nets, portrait_files: dict[str, bytes], brisk_clip: Clip
) -> None:
    vector = enrol(read_photo(portrait_files[RESIDENT]), *face_nets).vector
    bens = unit_vector(0, face_nets[1].dimension)
    beside = unit_vector(1, 96)  # of another embedder
    marks = pieces(vector) | pieces(beside) | {"name": NAME.encode()}
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(store_at(postgres_url)))
        eraser = stack.enter_context(contextlib.closing(StreamEraser(redis_server.url, STREAM)))
        camera = stack.enter_context(running_camera(brisk_clip))
        add_ben(store, bens, face_nets[1].card.id)
        add_camera(store, camera.url)
        process = stack.enter_context(worker_process(postgres_url, redis_server.url))
        wait_until(lambda: followed(store, 1))
        person = enrol_portrait(store, NAME, portrait_files[RESIDENT], face_nets)
        wait_until(lambda: followed(store, 2))
        with store.session() as session:
            for photo in embedders.unfinished(session, "newer"):
                embedders.add_template(session, photo, "newer", beside)
        wait_until(lambda: NAME in str(redis_server.client.xrange(STREAM)), seconds=40)
        wait_until(lambda: not waiting(store))
        before = found(process.pid, pieces(vector))
        assert before == dict.fromkeys(before, 1)
        receipt = erasure.erase_person(store, "main", person, stream=eraser)
        assert receipt.workers == {"tester": Forgotten.CONFIRMED}
        assert found(process.pid, marks | pieces(bens)) == dict.fromkeys(marks, 0) | dict.fromkeys(pieces(bens), 1)


@contextlib.contextmanager
def api_process(database: str, redis_url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run `cardea serve` as a process of its own and yield it with its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    more = {"CARDEA_DATABASE_URL": database, "CARDEA_REDIS_URL": redis_url, "CARDEA_PORT": port}
    with subprocess.Popen([sys.executable, "-m", "app", "serve"], cwd=ROOT, env=os.environ | more) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def answers(client: httpx2.Client) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return client.get("/livez").is_success
    return False


def test_who_was_looked_at_is_gone_from_an_api_process(
    sqlite_url: str, redis_server: RedisServer, face_nets: Nets, portrait_files: dict[str, bytes]
) -> None:
    photo = portrait_files[STRANGER]
    marks = pieces(enrol(read_photo(photo), *face_nets).vector)
    marks |= {"name": NAME.encode(), "photo": photo[len(photo) // 2 :][:PIECE]}
    with contextlib.closing(store_at(sqlite_url)) as store, store.session() as session:
        secret = keys.create(session, "operator", Scope.OPERATOR, None)[1]
    with (
        api_process(sqlite_url, redis_server.url) as (process, address),
        httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {secret}"}, timeout=20) as client,
    ):
        wait_until(lambda: answers(client))
        persons = "/v1/buildings/main/persons"
        person = add_person(client, NAME)
        path = f"{persons}/{person}"
        assert add_photo(client, person, photo).is_success
        for page in (persons, path, f"{persons}?search={NAME[:9]}"):
            assert NAME in client.get(page).raise_for_status().text
        assert client.delete(path).is_success
        assert found(process.pid, marks) == dict.fromkeys(marks, 0)
