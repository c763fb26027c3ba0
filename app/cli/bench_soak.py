"""`cardea bench soak`: does a worker keep its memory, threads and descriptors while cameras come, go and fail?

The worker is `cardea work`, a process of its own; so is every camera. What is measured is read from ``/proc``.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.cli.demo_clip import RESIDENT, make_hallway
from app.cli.process import open_store, stream_server
from app.cli.soak_plan import ROUND, Change, Sample, Step, at_rest, changes, faults, growth, rounds
from app.cli.spectator import watch
from app.cli.virtual import virtual_camera
from app.cli.visit_people import enrol_person
from app.errors import SetupError
from app.portraits import portraits
from app.settings import Settings
from app.store import cameras, people
from app.store.engine import Store
from app.store.records import CameraFields, NewPhoto, PersonFields
from app.types import CameraState
from workers.pipeline import Nets

EVERY = 10.0  # seconds between samples
BATCH = 100  # people written in one transaction
PAGE = os.sysconf("SC_PAGE_SIZE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cameras", type=int, default=8, help="how many, at least 4 (8)")
    parser.add_argument("--people", type=int, default=1000, help="enrolled, beside one who really comes (1000)")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")


@dataclass(slots=True)
class House:
    """The building while it runs."""

    store: Store
    dimension: int
    embedder: str
    urls: list[str]
    ids: list[str] = field(default_factory=list)  # of the cameras' rows
    enrolled: int = 0

    def populate(self, count: int) -> None:
        """Enrol so many people who will never come: each template is a random direction."""
        while count > 0:
            generator = np.random.default_rng(self.enrolled)
            vectors = generator.standard_normal((min(count, BATCH), self.dimension)).astype(np.float32)
            with self.store.session() as session:
                for vector in vectors / np.linalg.norm(vectors, axis=1, keepdims=True):
                    person = people.create(session, "main", PersonFields(f"Person {self.enrolled}"))
                    photo = NewPhoto(b"nobody", "image/jpeg", 640, 480, 0.5)
                    people.add_photo(session, "main", person.id, photo, embedder=self.embedder, vector=vector)
                    self.enrolled += 1
            count -= len(vectors)

    def add_camera(self, number: int) -> str:
        """Add the row of a camera and return its id."""
        with self.store.session() as session:
            return cameras.create(session, "main", CameraFields(f"Camera {number + 1}", self.urls[number])).id

    def change(self, step: Step) -> None:
        """Do what an operator does."""
        if step.change is Change.ENROL:
            self.populate(1)
        elif step.change is Change.ADD:
            self.ids[step.camera] = self.add_camera(step.camera)
        else:
            with self.store.session() as session:
                if step.change is Change.REMOVE:
                    cameras.delete(session, "main", self.ids[step.camera])
                else:
                    now = cameras.get(session, "main", self.ids[step.camera])
                    source = self.urls[(self.urls.index(now.fields.source) + 1) % len(self.urls)]
                    cameras.update(session, "main", now.id, replace(now.fields, source=source), now.revision)

    def online(self) -> int:
        """Return how many cameras show pictures."""
        with self.store.reading() as session:
            found = cameras.listing(session, "main", len(self.urls)).items
        return sum(camera.state is CameraState.ONLINE for camera in found)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures.

    Raises:
        SetupError: too few cameras or minutes, or the worker ended.
    """
    seconds = arguments.minutes * 60
    if arguments.cameras < 4 or seconds < ROUND:
        raise SetupError(f"at least 4 cameras and {ROUND / 60:g} minutes are needed")
    with tempfile.TemporaryDirectory(prefix="cardea-soak-") as folder, ExitStack() as stack:
        settings = Settings(data=Path(folder), key_file=None, database_url=None, redis_url=None)
        nets = Nets.open()
        clip = make_hallway(settings.cache, nets.finder, Path(folder))
        store = stack.enter_context(open_store(settings))
        redis_url = stack.enter_context(stream_server(settings))
        house = House(store, nets.embedder.dimension, nets.embedder.card.id, urls=[])
        house.populate(arguments.people)
        enrol_person(store, nets, RESIDENT, portraits(settings.cache)[RESIDENT])
        worker = stack.enter_context(_worker(settings, redis_url))
        for number in range(arguments.cameras):
            trouble = faults(number, arguments.cameras, seconds)
            house.urls.append(stack.enter_context(virtual_camera(clip, trouble)))
            house.ids.append(house.add_camera(number))
        samples, told = _soak(house, worker, redis_url, settings.stream, seconds)
    return _figures(samples, told, seconds) | {
        "cameras": arguments.cameras,
        "people": house.enrolled + 1,
        "seconds": seconds,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
        "nets": nets.ids,
    }


@contextmanager
def _worker(settings: Settings, redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `cardea work` on the same database and stream."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CARDEA_")}
    ours = {"CARDEA_DATA": str(settings.data), "CARDEA_REDIS_URL": redis_url, "CARDEA_WORKER": "soak"}
    command = [sys.executable, "-m", "app", "work"]
    with subprocess.Popen(command, env=kept | ours | {"CARDEA_LOG_LEVEL": "ERROR"}) as process:
        try:
            yield process
        finally:
            process.terminate()


def _soak(
    house: House, worker: subprocess.Popen[bytes], redis_url: str, stream: str, seconds: float
) -> tuple[list[Sample], Counter[str]]:
    """Change cameras and take samples for so many seconds; also return the events by what they say.

    Raises:
        SetupError: the worker ended.
    """
    waiting, told = changes(len(house.urls), seconds), Counter[str]()
    samples: list[Sample] = []
    started = time.monotonic()
    for event in watch(redis_url, stream, seconds):
        clock = time.monotonic() - started
        if event is not None:
            told[event["data"].get("decision") or event["data"]["state"]] += 1
        if waiting and clock >= waiting[0].at:
            house.change(waiting.pop(0))
        if clock >= len(samples) * EVERY:
            if worker.poll() is not None:
                raise SetupError(f"the worker ended with {worker.returncode} after {clock:.0f} s")
            samples.append(_sample(worker.pid, clock, house.online()))
            print(f"\r{seconds - clock:.0f} s left, {samples[-1]} ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return samples, told


def _sample(process: int, clock: float, online: int) -> Sample:
    folder = Path(f"/proc/{process}")
    pages = int((folder / "statm").read_text().split()[1])
    threads, descriptors = (sum(1 for _ in (folder / name).iterdir()) for name in ("task", "fd"))
    return Sample(round(clock, 1), round(pages * PAGE / 1e6, 1), threads, descriptors, online)


def _figures(samples: list[Sample], told: Counter[str], seconds: float) -> dict[str, Any]:
    rest = at_rest(samples, seconds)
    return {
        "rss_growth": growth(samples),
        "at_rest": [asdict(one) for one in rest],
        "left_behind": {
            "threads": rest[-1].threads - rest[0].threads,
            "descriptors": rest[-1].descriptors - rest[0].descriptors,
            "rule": "last round's end against the first one's",
        },
        "events": dict(told.most_common()),
        "rounds": rounds(seconds),
        "samples": [asdict(one) for one in samples],
    }
