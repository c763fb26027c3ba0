"""A building is run over REST while its worker watches: nothing needs a restart."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from fixtures_api import add_person, add_photo
from fixtures_redis import RedisServer, wait_until
from fixtures_store import store_at
from prometheus_client import CollectorRegistry

from app.cli.demo_clip import RESIDENT
from app.cli.process import first_key, working
from app.cli.web import api_server, serving
from app.settings import Settings
from workers.pipeline import Nets
from workers.simulator.clip import Clip
from workers.simulator.hosting import RunningCamera, running_camera
from workers.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass
class Running:
    worker: Worker
    client: httpx2.Client
    camera: RunningCamera

    def decisions(self, decision: str) -> list[dict]:
        answer = self.client.get("/v1/buildings/main/events", params={"decision": decision})
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    def next(self, decision: str) -> dict:
        """The next event of this decision, whatever there was before."""
        before = len(self.decisions(decision))
        wait_until(lambda: len(self.decisions(decision)) > before, seconds=60)
        return self.decisions(decision)[0]["data"]

    def add_camera(self) -> str:
        body = {"name": "Front door", "door": "front", "source": self.camera.source}
        answer = self.client.post("/v1/buildings/main/cameras", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def state(self, camera: str) -> str | None:
        return self.client.get(f"/v1/buildings/main/cameras/{camera}").json()["state"]


@pytest.fixture
def house(store_url: str, redis_server: RedisServer, door_clip: Path) -> Iterator[Running]:
    settings, nets, registry = Settings(worker="house", port=0), Nets.open(), CollectorRegistry()
    with (
        closing(store_at(store_url)) as store,
        running_camera(Clip.load(door_clip), user="door", password="hush") as camera,
    ):
        key = first_key(store)
        server = api_server(settings, store, redis_server.url, nets, registry)
        with (
            working(settings, store, redis_server.url, nets, registry) as worker,
            serving(server) as address,
            httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client,
        ):
            yield Running(worker, client, camera)


def test_a_day_in_the_life(house: Running, portrait_files: dict[str, bytes]) -> None:
    camera = house.add_camera()
    wait_until(lambda: house.state(camera) == "online", seconds=15)
    assert "hush" not in house.client.get(f"/v1/buildings/main/cameras/{camera}").text

    stranger = house.next("unknown")
    assert stranger["person"] is None

    person = add_person(house.client, RESIDENT, groups=["residents"])
    assert add_photo(house.client, person, portrait_files[RESIDENT]).status_code == 201
    wait_until(lambda: house.worker._galleries.of("main").templates == 1, seconds=1.0)  # followed within a second
    granted = house.next("granted")
    assert granted["person"] == {"id": person, "name": RESIDENT} and granted["door"] == "front"
    assert house.client.get(granted["snapshot"]).headers["content-type"] == "image/jpeg"

    closed = house.client.patch(f"/v1/buildings/main/cameras/{camera}", json={"groups": ["staff"]})
    assert closed.status_code == 200, closed.text
    denied = house.next("denied")
    assert denied["person"]["name"] == RESIDENT and denied["reasons"] == ["group_not_allowed"]

    receipt = house.client.delete(f"/v1/buildings/main/persons/{person}").json()
    assert receipt["complete"] and receipt["workers"] == {"house": "confirmed"}, receipt
    assert house.worker._galleries.of("main").templates == 0
    assert RESIDENT not in str(house.decisions("granted")) + str(house.decisions("denied"))
    assert house.client.get(granted["snapshot"]).status_code == 404
    before = len(house.decisions("denied"))
    house.next("unknown")
    house.next("unknown")  # she has passed in between
    assert len(house.decisions("denied")) == before and not house.decisions("granted")[1:]

    assert house.client.delete(f"/v1/buildings/main/cameras/{camera}").status_code in (200, 204)
    wait_until(lambda: not house.worker.watched, seconds=3)
    wait_until(lambda: house.camera.viewers == 0, seconds=10)
    time.sleep(0.5)
    assert house.worker.failure is None
