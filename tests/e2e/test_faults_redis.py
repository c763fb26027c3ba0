"""Redis is full, and Redis loses its data: no event is lost or doubled, and no door opens twice.

That it stops for a minute is in `test_faults.py`.
"""

import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from fixtures_door import add_camera, enrol_portrait
from fixtures_faults import House, check_books, door_controller, works_again
from fixtures_redis import RedisServer, wait_until
from fixtures_store import store_at
from prometheus_client import CollectorRegistry

from app.cli.demo_clip import RESIDENT
from app.cli.process import first_key, working
from app.cli.web import api_server, serving
from app.settings import Settings
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.pipeline import Nets
from workers.simulator.clip import Clip
from workers.simulator.hosting import running_camera

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def test_redis_is_full_and_then_loses_everything(
    sqlite_url: str,
    redis_server: RedisServer,
    brisk_clip: Clip,
    tmp_path: Path,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings, nets, registry = Settings(worker="faults", port=0), Nets.open(), CollectorRegistry()
    with (
        closing(store_at(sqlite_url)) as store,
        running_camera(brisk_clip) as camera,
        door_controller(redis_server.url, tmp_path) as controller,
    ):
        key = first_key(store)
        enrol_portrait(store, RESIDENT, portrait_files[RESIDENT], face_nets)
        add_camera(store, camera.url)
        house = House(store, redis_server, camera, controller)
        with (
            serving(api_server(settings, store, redis_server.url, nets, registry)) as address,
            httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client,
            working(settings, store, redis_server.url, nets, registry),
        ):
            wait_until(lambda: house.grants() > 0, seconds=60)
            full(house, client)
            assert "raise the server's maxmemory" in caplog.text
            loses_its_data(house)
            assert "lost its data" in caplog.text
            check_books(house)


def full(house: House, client: httpx2.Client) -> None:
    """The next visit finds the server full, which is over four seconds later."""
    known = len(house.sent())
    house.redis.client.config_set("maxmemory", "1mb")

    def backlog() -> float:
        lines = client.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith("cardea_outbox_events "))

    wait_until(lambda: backlog() > 0, seconds=20)
    time.sleep(4)
    assert client.get("/readyz").status_code == 200  # it answers; the backlog tells
    assert len(house.sent()) == known
    house.redis.client.config_set("maxmemory", "0")
    seconds = wait_until(lambda: backlog() == 0)
    print(f"\nfull: what waited is in the stream after {seconds:.1f} s, a grant after {works_again(house, int):.1f} s")


def loses_its_data(house: House) -> None:
    """All is there again, first without a restart, then as a server without its files."""
    for lose in (house.redis.client.flushall, house.redis.lose_everything):
        known = [event["id"] for event in house.sent()]
        lose()
        seconds = wait_until(lambda known=known: [event["id"] for event in house.sent()][: len(known)] == known)
        print(f"data lost: the stream has it again after {seconds:.1f} s")
    print(f"a grant after {works_again(house, int):.1f} s")
