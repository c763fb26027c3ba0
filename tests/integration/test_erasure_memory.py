"""What a worker process still has in its memory of somebody who was erased: all of it is searched."""

import contextlib
import os
import re
from pathlib import Path

import pytest
from fixtures_door import worker_process
from fixtures_redis import STREAM, RedisServer, wait_until
from fixtures_store import store_at, unit_vector

from app.store import erasure, people, workers
from app.store.engine import Store
from app.store.records import Forgotten, NewPhoto, PersonFields
from app.stream_erasure import StreamEraser
from app.types import Array
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

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


def enrol(store: Store, name: str, vector: Array, embedder: str) -> str:
    with store.session() as session:
        person = people.create(session, "main", PersonFields(name)).id
        photo = NewPhoto(b"picture", "image/jpeg", 640, 480, 0.8)
        people.add_photo(session, "main", person, photo, embedder=embedder, vector=vector)
    return person


def followed(store: Store, sequence: int) -> bool:
    with store.reading() as session:
        return any(
            worker.galleries.get("main") == sequence for worker in workers.live(session) if worker.id == "tester"
        )


@pytest.mark.timeout(120)
def test_template_and_name_are_gone_from_a_worker(
    sqlite_url: str, redis_server: RedisServer, face_nets: tuple[FaceFinder, Embedder]
) -> None:
    name, embedder = "Zerlina Quast-Obermoser", face_nets[1]
    vectors = [unit_vector(seed, embedder.dimension) for seed in range(3)]
    marks = pieces(vectors[1]) | {"name": name.encode()}
    bens = pieces(vectors[0])
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(store_at(sqlite_url)))
        eraser = stack.enter_context(contextlib.closing(StreamEraser(redis_server.url, STREAM)))
        enrol(store, "Ben", vectors[0], embedder.card.id)
        process = stack.enter_context(worker_process(sqlite_url, redis_server.url))
        wait_until(lambda: followed(store, 1))
        ada = enrol(store, name, vectors[1], embedder.card.id)
        enrol(store, "Cleo", vectors[2], embedder.card.id)
        wait_until(lambda: followed(store, 3))
        before = found(process.pid, marks)
        assert {mark: before[mark] for mark in before if mark != "name"} == dict.fromkeys(pieces(vectors[1]), 1)
        receipt = erasure.erase_person(store, "main", ada, stream=eraser)
        assert receipt.workers == {"tester": Forgotten.CONFIRMED}
        assert found(process.pid, marks | bens) == dict.fromkeys(marks, 0) | dict.fromkeys(bens, 1)
