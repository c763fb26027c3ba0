"""What a worker tells of a door that it watches, over real RTSP: portraits, figures, and the live view."""

import asyncio
import base64
import json
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fixtures_api import problem_of
from fixtures_redis import STREAM, wait_until
from fixtures_watch import WatchedDoor

from app.cli.demo_clip import RESIDENT
from app.live import channel, subscribe
from app.photos import enrol, read_photo
from app.store import events
from app.store.records import EventFilter, EventRecord
from app.types import AccessEvent, Decision
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

pytestmark = pytest.mark.timeout(120)

TIMINGS = "/v1/buildings/main/cameras/{}/timings"


def granted(door: WatchedDoor) -> list[EventRecord]:
    with door.store.reading() as session:
        return events.listing(session, "main", 10, only=EventFilter(decision=Decision.GRANTED)).items


async def listen(door: WatchedDoor, seconds: float, enough: Any = lambda messages: False) -> list[dict[str, Any]]:
    """The messages of so many seconds, or until there are enough."""
    heard: list[dict[str, Any]] = []
    async with aclosing(subscribe(door.redis.url, STREAM, [door.camera])) as messages:
        with suppress(TimeoutError):  # then the time to listen is over
            async with asyncio.timeout(seconds):
                async for message in messages:
                    heard.append(json.loads(message))
                    if enough(heard):
                        break
    return heard


def test_the_portrait_of_a_visit_can_be_enrolled(
    watched_door: WatchedDoor, face_nets: tuple[FaceFinder, Embedder], portrait_files: dict[str, bytes]
) -> None:
    wait_until(lambda: granted(watched_door), seconds=30)
    record = granted(watched_door)[0]
    assert isinstance(record.event, AccessEvent) and record.event.person == watched_door.person
    assert record.has_portrait
    with watched_door.store.reading() as session:
        portrait = events.portrait(session, "main", record.event.id)
    photo = read_photo(portrait)
    assert max(photo.width, photo.height) <= 320
    enrolled = enrol(photo, *face_nets)
    known = enrol(read_photo(portrait_files[RESIDENT]), *face_nets)
    assert enrolled.quality.usable and float(enrolled.vector @ known.vector) > face_nets[1].similarity_at(1e-4)


def test_timings_tell_where_the_time_goes(watched_door: WatchedDoor) -> None:
    path = TIMINGS.format(watched_door.camera)
    wait_until(lambda: granted(watched_door), seconds=30)

    def told_of_both() -> dict[str, Any] | None:
        """The answer, once there were frames that went on and frames that did not."""
        answer: dict[str, Any] = watched_door.client.get(path).json()
        return answer if answer.get("exit_rate") and answer["stage_ms"]["embed"] else None

    wait_until(told_of_both)
    told = told_of_both()
    assert told is not None
    assert list(told["stage_ms"]) == ["decode", "stem", "gate", "tail", "faces", "embed", "other"]
    assert told["frame_ms"] == pytest.approx(sum(told["stage_ms"].values()))
    assert all(ms > 0 for ms in told["stage_ms"].values())
    assert 0 < told["exit_rate"] < 1 and 0 < told["cpu_share"] < 1 and 0 < told["saved_share"] < 1
    assert 0 < told["analysed"] <= 5.5 * told["seconds"] + 1 and 0 < told["lag"] < 5
    assert problem_of(watched_door.client.get(TIMINGS.format("cam_none"))) == (404, "not-found")


def test_metrics_count_what_is_not_decoded(watched_door: WatchedDoor) -> None:
    text = watched_door.client.get("/metrics").text
    for name in ("packets_skipped", "light_wakes", "visits_missed_by_packets"):
        assert f'cardea_{name}_total{{camera="{watched_door.camera}"}} ' in text


def test_the_live_view_shows_who_is_there_and_leaves_no_trace(watched_door: WatchedDoor) -> None:
    def shown(messages: list[dict[str, Any]]) -> bool:
        return any(one["person"] for one in messages[-1]["persons"]) and any(m["exited"] for m in messages)

    heard = asyncio.run(listen(watched_door, 25, shown))
    assert shown(heard), heard[-1:]
    last = heard[-1]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(last["jpeg"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (last["height"], last["width"], 3) == (480, 640, 3)
    assert last["camera"] == watched_door.camera and last["zones"] == []
    (person,) = last["persons"]
    assert (person["person"], person["state"]) == (watched_door.person, "granted")
    assert RESIDENT not in json.dumps(heard)
    assert all(0 <= share <= 1 for share in person["box"]) and person["box"][0] < person["box"][2]
    moving = next(message for message in heard if message["faces"])
    cells = moving["motion"]
    assert cells["active"] and max(cells["active"]) < cells["columns"] * cells["rows"]
    assert moving["why"] in ("motion", "warming_up") and moving["strength"] >= 1
    assert all((message["why"] is None) == message["exited"] for message in heard)
    assert [message["at"] for message in heard] == sorted(message["at"] for message in heard)

    written = b"".join(path.read_bytes() for path in Path(watched_door.redis.folder).rglob("*") if path.is_file())
    assert b"granted" in written and b'"jpeg"' not in written  # the event stream is there, no live picture is


def test_nobody_looks_so_nothing_is_sent(watched_door: WatchedDoor) -> None:
    asyncio.run(listen(watched_door, 10, bool))
    wait_until(lambda: not watched_door.worker._live._wanted, seconds=5)
    client = watched_door.redis.client
    before = client.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"]
    analysed = watched_door.worker.watched[watched_door.camera].pipeline.stages
    start = analysed.analysed
    wait_until(lambda: analysed.analysed >= start + 5, seconds=10)
    assert client.info("commandstats")["cmdstat_publish"]["calls"] == before


def test_the_live_view_goes_on_after_redis_was_away(watched_door: WatchedDoor) -> None:
    async def through_an_outage() -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []
        async with aclosing(subscribe(watched_door.redis.url, STREAM, [watched_door.camera])) as messages:
            heard.append(json.loads(await asyncio.wait_for(anext(messages), 10)))
            watched_door.redis.kill()
            await asyncio.to_thread(watched_door.redis.start)
            async with asyncio.timeout(15):
                async for message in messages:
                    heard.append(json.loads(message))
                    if heard[-1]["at"] > heard[0]["at"] and len(heard) > 8:
                        return heard
        return heard

    heard = asyncio.run(through_an_outage())
    assert heard[-1]["at"] > heard[0]["at"]
    assert watched_door.worker.failure is None


def test_a_slow_reader_gets_the_newest_picture(watched_door: WatchedDoor) -> None:
    async def late() -> tuple[str, str]:
        client = watched_door.redis.client
        name = channel(STREAM, "elsewhere")
        async with aclosing(subscribe(watched_door.redis.url, STREAM, ["elsewhere", "other"])) as messages:
            first = asyncio.ensure_future(anext(messages))
            while not await asyncio.to_thread(client.publish, name, "0"):
                await asyncio.sleep(0.05)
            begun = await first
            for number in range(1, 51):
                await asyncio.to_thread(client.publish, name, str(number))
            await asyncio.to_thread(client.publish, channel(STREAM, "other"), "last")
            heard = [await anext(messages), await anext(messages)]
            while heard[-1] != "last":
                heard.append(await anext(messages))
            return begun, heard[-2]

    assert asyncio.run(late()) == ("0", "50")
