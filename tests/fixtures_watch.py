"""A whole door under watch: RTSP camera, worker, store, event stream and API, shared by the tests of one file."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import httpx2
import pytest
from fixtures_door import add_camera, enrol_portrait
from fixtures_redis import RedisServer
from fixtures_store import store_at
from prometheus_client import CollectorRegistry

from app.cli.demo_clip import RESIDENT
from app.cli.process import first_key, working
from app.cli.web import api_server, serving
from app.photos import read_photo
from app.settings import Settings
from app.store.engine import Store
from app.types import Image
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.pipeline import Nets
from workers.simulator.clip import Clip
from workers.simulator.encode import encode
from workers.simulator.hosting import running_camera
from workers.simulator.people import cut_out, hallway, noisy, visit
from workers.worker import Worker

SIZE, FPS = (640, 480), 10.0


def resident_frames(portrait: bytes, finder: FaceFinder, still: float, seconds: float) -> Iterator[Image]:
    """An empty hallway for `still` seconds, then one visit of so many; ten pictures a second."""
    image = read_photo(portrait).image
    faces = finder.find(image)
    scene = hallway(*SIZE)
    cutout = cut_out(image, faces.boxes[int(faces.scores.argmax())])
    return noisy(chain(repeat(scene, round(still * FPS)), visit(cutout, scene, seconds, FPS)), seed=1)


@dataclass(frozen=True)
class WatchedDoor:
    """What is running."""

    store: Store
    redis: RedisServer
    worker: Worker
    client: httpx2.Client  # of an operator
    camera: str
    person: str


@pytest.fixture(scope="module")
def watched_door(
    sqlite_template: Path,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WatchedDoor]:
    """A resident, enrolled, who comes to the camera every seven seconds."""
    folder = tmp_path_factory.mktemp("watched")
    encode(resident_frames(portrait_files[RESIDENT], face_nets[0], 2.0, 5.0), folder / "visit.mp4", FPS)
    database = shutil.copy(sqlite_template, folder / "cardea.db")
    (folder / "redis").mkdir()
    settings, nets, registry = Settings(worker="watcher", port=0), Nets.open(), CollectorRegistry()
    redis = RedisServer(folder / "redis")
    redis.start()
    with (
        closing(redis),
        closing(store_at(f"sqlite:///{database}")) as store,
        running_camera(Clip.load(folder / "visit.mp4"), user="door", password="hush") as source,
        working(settings, store, redis.url, nets, registry) as worker,
        serving(api_server(settings, store, redis.url, nets, registry)) as address,
        httpx2.Client(base_url=address, timeout=30, verify=False) as client,
    ):
        client.headers["Authorization"] = f"Bearer {first_key(store)}"
        person = enrol_portrait(store, RESIDENT, portrait_files[RESIDENT], face_nets)
        yield WatchedDoor(store, redis, worker, client, add_camera(store, source.source), person)
