"""A whole system, from RTSP to an opened door, and its books: what was stored, sent and opened for."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fixtures_door import ROOT
from fixtures_redis import STREAM, RedisServer, wait_until

from app.cli.demo_clip import RESIDENT
from app.store import events
from app.store.engine import Store
from app.types import Image
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.simulator.clip import Clip
from workers.simulator.encode import encode
from workers.simulator.hosting import RunningCamera
from workers.simulator.people import cut_out, hallway, noisy, visit

FPS = 10.0


@dataclass
class House:
    """A running system and its witnesses."""

    store: Store
    redis: RedisServer
    camera: RunningCamera
    controller: subprocess.Popen[str]

    def sent(self, kind: str = "org.cardea.") -> list[dict[str, Any]]:
        entries = self.redis.client.xrange(STREAM)
        found = [json.loads(fields["event"]) for _, fields in entries]
        return [event for event in found if event["type"].startswith(kind)]

    def states(self) -> list[str]:
        return [event["data"]["state"] for event in self.sent("org.cardea.camera.")]

    def grants(self) -> int:
        return len(self.sent("org.cardea.access.granted"))


def repeated_visits(
    portrait: Image, finder: FaceFinder, path: Path, size: tuple[int, int], codec: str, present: float, absent: float
) -> Clip:
    """A clip in which the resident comes once, with half of the seconds of absence before and half after."""
    scene = hallway(*size)
    person = cut_out(portrait, finder.find(portrait).boxes[0])
    empty = round(absent / 2 * FPS)
    frames = chain(repeat(scene, empty), visit(person, scene, present, FPS), repeat(scene, empty))
    encode(noisy(frames, seed=2), path, FPS, codec)
    return Clip.load(path)


def resident(portrait_files: dict[str, bytes]) -> Image:
    """The resident's portrait, decoded."""
    portrait = cv2.imdecode(np.frombuffer(portrait_files[RESIDENT], np.uint8), cv2.IMREAD_COLOR)
    assert portrait is not None
    return np.asarray(portrait, np.uint8)


@pytest.fixture(scope="session")
def visit_clips(
    tmp_path_factory: pytest.TempPathFactory,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
) -> list[Clip]:
    """A visit every ten seconds, and the same in another size and codec."""
    folder = tmp_path_factory.mktemp("visits")
    portrait = resident(portrait_files)
    return [
        repeated_visits(portrait, face_nets[0], folder / "plain.mp4", (640, 480), "h264", 4, 6),
        repeated_visits(portrait, face_nets[0], folder / "other.mp4", (512, 384), "hevc", 4, 6),
    ]


@pytest.fixture(scope="session")
def brisk_clip(
    tmp_path_factory: pytest.TempPathFactory,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
) -> Clip:
    """A visit every seven seconds, each one event: absences are longer than a visit may be interrupted."""
    path = tmp_path_factory.mktemp("brisk") / "visit.mp4"
    return repeated_visits(resident(portrait_files), face_nets[0], path, (640, 480), "h264", 2, 5)


@contextmanager
def door_controller(redis_url: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the example consumer for the door "front"."""
    script = str(ROOT / "examples" / "door_controller.py")
    command = [sys.executable, script, "--url", redis_url, "--memory", str(folder / "seen.db"), "--door", "front"]
    with (
        (folder / "controller.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def works_again(house: House, heal: Callable[[], None]) -> float:
    """Heal the fault and return the seconds until the next grant is in the stream."""
    before = house.grants()
    started = time.monotonic()
    heal()
    wait_until(lambda: house.grants() > before, seconds=90)
    return time.monotonic() - started


def check_books(house: House) -> None:
    """Compare database, stream and door."""
    with house.store.reading() as session:
        stored = {record.event.id for record in events.listing(session, "main", 200).items}
    wait_until(lambda: stored <= {event["id"] for event in house.sent()})
    counts = Counter(event["id"] for event in house.sent())
    assert set(counts.values()) == {1}
    grants = {event["id"]: event["data"] for event in house.sent("org.cardea.access.granted")}
    assert {grant["person"]["name"] for grant in grants.values()} == {RESIDENT}
    house.controller.terminate()
    said = [json.loads(line) for line in house.controller.communicate(timeout=10)[0].splitlines()]
    opened = [line for line in said if "opened" in line]
    assert opened and len({line["opened"] for line in opened}) == len(opened)
    stale = [
        x for x in opened if datetime.fromisoformat(x["at"]) > datetime.fromisoformat(grants[x["opened"]]["expires_at"])
    ]
    assert not stale
