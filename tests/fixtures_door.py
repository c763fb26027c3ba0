"""A filmed door: a resident and a stranger, real faces, H.264; and processes of ours that watch it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.cli.demo_clip import RESIDENT, STRANGER, make_clip
from app.photos import enrol, read_photo
from app.store import cameras, people
from app.store.engine import Store
from app.store.records import CameraFields, NewPhoto, PersonFields
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def door_clip(
    tmp_path_factory: pytest.TempPathFactory,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
) -> Path:
    """The demo's clip: 4 s of nothing, the resident, 6 s of nothing, the stranger, 4 s of nothing."""
    path = tmp_path_factory.mktemp("door") / "hallway.mp4"
    make_clip(portrait_files[RESIDENT], portrait_files[STRANGER], face_nets[0], path)
    return path


def enrol_portrait(store: Store, name: str, data: bytes, nets: tuple[FaceFinder, Embedder]) -> str:
    """Enrol one portrait in "main" as the API does, and return the person's id."""
    photo = read_photo(data)
    enrolment = enrol(photo, *nets)
    with store.session() as session:
        person = people.create(session, "main", PersonFields(name)).id
        new = NewPhoto(data, photo.media_type, photo.width, photo.height, enrolment.quality.score)
        people.add_photo(session, "main", person, new, embedder=nets[1].card.id, vector=enrolment.vector)
    return person


def add_camera(store: Store, url: str) -> str:
    """Add a camera to "main" and return its id."""
    with store.session() as session:
        return cameras.create(session, "main", CameraFields("Front door", url, door="front")).id


@contextmanager
def worker_process(
    database: str, redis_url: str, name: str = "tester", **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `cardea work` as a process of its own; it is killed at the end if it still lives.

    Args:
        more: environment variables.
    """
    environment = os.environ | {
        "CARDEA_DATABASE_URL": database,
        "CARDEA_REDIS_URL": redis_url,
        "CARDEA_WORKER": name,
    }
    process = subprocess.Popen([sys.executable, "-m", "app", "work"], cwd=ROOT, env=environment | more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
