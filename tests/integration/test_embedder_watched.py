"""A worker over real RTSP while its embedder is changed: it goes over by itself, and compares nothing across."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fixtures_door import add_camera
from fixtures_embedders import enrol_photos
from fixtures_redis import STREAM, RedisServer, wait_until
from fixtures_store import store_at
from prometheus_client import CollectorRegistry

from app.cli.demo_clip import RESIDENT
from app.cli.process import working
from app.reembedding import reembed
from app.settings import Settings
from app.store import embedders, erasure
from app.store.audit import SYSTEM
from app.store.engine import Store
from app.store.records import Forgotten
from app.vision.artefact import Artefact, shipped
from app.vision.embedder import Embedder
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder
from workers.pipeline import Nets
from workers.simulator.clip import Clip
from workers.simulator.hosting import running_camera
from workers.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Door:
    """A resident, enrolled with the former embedder, who comes to a camera every few seconds."""

    store: Store
    redis: RedisServer
    person: str

    def access(self) -> list[dict[str, Any]]:
        """What was decided so far."""
        events = [json.loads(fields["event"]) for _, fields in self.redis.client.xrange(STREAM)]
        return [event["data"] for event in events if "decision" in event["data"]]

    def next(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next decision of this kind from now on."""
        before = len(self.access())
        wait_until(lambda: any(fits(data) for data in self.access()[before:]), seconds=90)
        return next(data for data in self.access()[before:] if fits(data))

    def prepare(self, nets: tuple[FaceFinder, Embedder]) -> None:
        assert all(not tried.trouble for tried in reembed(self.store, *nets, None, 1))

    def switch(self, embedder: str) -> None:
        with self.store.session() as session:
            assert not embedders.switch(session, embedder, SYSTEM)


@pytest.fixture
def door(
    sqlite_url: str,
    redis_server: RedisServer,
    brisk_clip: Clip,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
    former: Artefact,
) -> Iterator[Door]:
    with closing(store_at(sqlite_url)) as store, running_camera(brisk_clip) as camera:
        person = enrol_photos(store, RESIDENT, [portrait_files[RESIDENT]], face_nets[0], Embedder(former))
        add_camera(store, camera.url)
        yield Door(store, redis_server, person)


@contextmanager
def worker(door: Door, at_hand: Embedders) -> Iterator[Worker]:
    nets = replace(Nets.open(), embedders=at_hand)
    with working(Settings(worker="watcher"), door.store, door.redis.url, nets, CollectorRegistry()) as running:
        yield running


def granted_by(embedder: str) -> Callable[[dict[str, Any]], bool]:
    return lambda data: data["decision"] == "granted" and data["nets"]["embedder"] == embedder


def test_doors_go_over_to_the_live_embedder_and_back(
    door: Door, face_nets: tuple[FaceFinder, Embedder], former: Artefact, at_hand: Embedders
) -> None:
    old, new = former.card.id, face_nets[1].card.id
    with worker(door, at_hand):
        first = door.next(granted_by(old))
        door.prepare(face_nets)
        again = door.next(granted_by(old))  # the templates beside change nothing
        assert again["threshold"] == first["threshold"] and again["person"]["id"] == door.person
        door.switch(new)
        assert door.next(granted_by(new))["person"]["id"] == door.person
        door.switch(old)
        assert door.next(granted_by(old))["person"]["id"] == door.person
        receipt = erasure.erase_person(door.store, "main", door.person)
        assert receipt.removed.templates == 2 and receipt.workers == {"watcher": Forgotten.CONFIRMED}
        assert door.next(lambda data: data["decision"] != "granted")["person"] is None


def followed(running: Worker) -> bool:
    """Whether the camera follows somebody now."""
    sights = [watched.pipeline.sight for watched in running.watched.values()]
    return any(sight is not None and bool(sight.tracks) for sight in sights)


def test_a_worker_without_the_live_embedder_knows_nobody_until_the_switch(
    door: Door, face_nets: tuple[FaceFinder, Embedder]
) -> None:
    new = face_nets[1].card.id
    with worker(door, Embedders(shipped("embedder"))) as running:
        door.prepare(face_nets)  # made, but not live yet
        for _visit in range(2):
            wait_until(lambda: followed(running), seconds=60)
            wait_until(lambda: not followed(running), seconds=60)
        assert {(data["decision"], *data["reasons"]) for data in door.access()} <= {("undecided", "gallery_stale")}
        door.switch(new)
        assert door.next(granted_by(new))["person"]["id"] == door.person
