"""A worker process is killed in the middle of visits: nothing that was decided is lost or doubled."""

import json
import signal
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from fixtures_door import add_camera, enrol_portrait, worker_process
from fixtures_redis import STREAM, RedisServer, wait_until
from fixtures_store import store_at

from app.cli.demo_clip import RESIDENT
from app.store import events
from app.store.engine import Store
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.simulator.clip import Clip
from workers.simulator.hosting import running_camera

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def stored(store: Store) -> list[str]:
    with store.reading() as session:
        return [record.event.id for record in events.listing(session, "main", 200).items]


def sent(redis_server: RedisServer) -> list[dict]:
    return [json.loads(fields["event"]) for _, fields in redis_server.client.xrange(STREAM)]


def grants(redis_server: RedisServer) -> list[dict]:
    return [event for event in sent(redis_server) if event["type"] == "org.cardea.access.granted.v1"]


def test_kills_in_the_middle_of_visits(
    store_url: str,
    redis_server: RedisServer,
    door_clip: Path,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
) -> None:
    with closing(store_at(store_url)) as store, running_camera(Clip.load(door_clip)) as camera:
        enrol_portrait(store, RESIDENT, portrait_files[RESIDENT], face_nets)
        add_camera(store, camera.url)
        for pause in (0.0, 0.3, 1.0):  # seconds after the first grant of this process: the visit still goes on
            before = len(grants(redis_server))
            with worker_process(store_url, redis_server.url) as process:
                wait_until(lambda before=before: len(grants(redis_server)) > before, seconds=60)
                time.sleep(pause)
                process.send_signal(signal.SIGKILL)
        before = len(grants(redis_server))
        with worker_process(store_url, redis_server.url) as process:
            wait_until(lambda: len(grants(redis_server)) > before, seconds=60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        counts = Counter(event["id"] for event in sent(redis_server))
        assert set(counts) == set(stored(store))
        assert set(counts.values()) == {1}
        assert {event["data"]["person"]["name"] for event in grants(redis_server)} == {RESIDENT}
        epochs = [event["data"]["owner_epoch"] for event in sent(redis_server)]
        assert sorted(set(epochs)) == [1, 2, 3, 4]
