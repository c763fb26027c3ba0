"""Tampering on its way: stored with its camera's condition, told over every channel, and seen over real RTSP."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fixtures_api import Api, EventSource
from fixtures_door import add_camera
from fixtures_redis import STREAM, RedisServer, open_stream, wait_until
from fixtures_store import access_event, camera_event, claimed_camera, silence, store_at
from fixtures_web import Visitor
from prometheus_client import CollectorRegistry

from app.advice import TAMPERED
from app.api.cameras import CameraRead
from app.cli.process import working
from app.errors import StaleOwnerError
from app.events import to_cloud_event
from app.settings import Settings
from app.store import cameras, census, events, outbox, webhooks
from app.store.engine import Store
from app.store.records import CameraFields, EventFilter, EventRecord
from app.store.webhooks import WebhookFields
from app.types import Camera, CameraState, Ending, Image, TamperEvent, Tampering, TamperKind
from app.vision.tamper import DETAILS
from app.webhooks.signature import new_secret
from workers.pipeline import Nets
from workers.simulator.clip import Clip
from workers.simulator.encode import encode
from workers.simulator.faults import Fault
from workers.simulator.hosting import RunningCamera, running_camera
from workers.simulator.people import hallway, noisy

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS, CAMERAS = "/v1/buildings/main/events", "/v1/buildings/main/cameras"


def tampering(camera: Camera, sequence: int, ended: bool = False, kind: TamperKind = TamperKind.COVERED) -> TamperEvent:
    """The beginning or the end of a tampering, said `sequence` seconds after noon."""
    moment = NOON + timedelta(seconds=sequence)
    return TamperEvent(
        id=f"{camera.id}.{camera.owner_epoch}.{sequence}",
        sequence=sequence,
        owner_epoch=camera.owner_epoch,
        building=camera.building,
        camera=camera.id,
        kind=kind,
        since=NOON,
        ended_at=moment if ended else None,
        ended_by=Ending.RECOVERED if ended else None,
        detail=DETAILS[Ending.RECOVERED] if ended else "the picture shows nothing",
        at=moment,
    )


def beat(store: Store) -> None:
    """Let the lease of the camera's worker run for nine seconds more."""
    silence(store, "watcher", -4)


def put(store: Store, *new: Any) -> None:
    for event in new:
        with store.session() as session:
            assert events.add(session, event)


def test_a_tampering_comes_back_and_stays_with_its_camera_until_it_ends(store: Store) -> None:
    camera = claimed_camera(store)
    begun, ended = tampering(camera, 2), tampering(camera, 9, ended=True)
    put(store, camera_event(camera, 1, CameraState.ONLINE), begun, camera_event(camera, 3, CameraState.OFFLINE))
    said = Tampering(TamperKind.COVERED, "the picture shows nothing", NOON)
    with store.reading() as session:
        assert events.get(session, "main", begun.id) == EventRecord(begun, has_snapshot=False)
        found = cameras.get(session, "main", camera.id)
        assert (found.state, found.tampering) == (CameraState.OFFLINE, said)  # beside the state, whatever that becomes
        (watched,) = cameras.watched(session, "watcher")
        assert watched.tampering == said and watched == camera  # no reason to open the camera anew
        assert [one.event.sequence for one in events.listing(session, "main", 9, only=EventFilter("camera")).items] == [
            3,
            2,
            1,
        ]
    put(store, ended)
    with store.reading() as session:
        assert events.get(session, "main", ended.id).event == ended
        assert cameras.get(session, "main", camera.id).tampering is None
    with outbox.batch(store, 10) as records:
        assert [record.event.id for record in records][1::2] == [begun.id, ended.id]


def test_only_the_owner_says_so(store: Store) -> None:
    camera = claimed_camera(store)
    with pytest.raises(StaleOwnerError), store.session() as session:
        events.add(session, tampering(replace(camera, owner_epoch=7), 1))
    with pytest.raises(StaleOwnerError), store.session() as session:
        cameras.set_tampering(session, camera.id, 7, None)


def test_a_tampering_outlives_its_worker_and_a_change_of_the_camera(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, camera_event(camera, 1), tampering(camera, 2))
    with store.session() as session:
        cameras.update(session, "main", camera.id, CameraFields("Renamed", "rtsp://camera/1"), 1)
    silence(store, "watcher", 60)
    with store.reading() as session:
        assert cameras.get(session, "main", camera.id).tampering is not None
        assert census.tampered_by_kind(session) == {}  # nobody watches it: nobody vouches for it


def test_tampered_cameras_are_counted(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, camera_event(camera, 1), tampering(camera, 2, kind=TamperKind.TURNED))
    beat(store)
    with store.reading() as session:
        assert census.tampered_by_kind(session) == {("main", "turned"): 1}
    put(store, camera_event(camera, 3, CameraState.STALLED))
    with store.reading() as session:
        assert census.tampered_by_kind(session) == {}


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"source": "rtsp://camera.example.org/elsewhere"}, True),
        ({"enabled": False}, True),
        ({"name": "Renamed", "zones": [[[0, 0], [1, 0], [1, 1]]]}, False),
    ],
    ids=["source", "off", "others"],
)
def test_another_source_and_switching_off_end_it(
    api: Api, operator: httpx2.Client, change: dict[str, Any], ends: bool
) -> None:
    store = api.services.store
    camera = claimed_camera(store)
    put(store, camera_event(camera, 1), tampering(camera, 2))
    told = operator.patch(f"{CAMERAS}/{camera.id}", json=change)
    assert told.status_code == 200
    with store.reading() as session:
        found = cameras.get(session, "main", camera.id)
        said = [one.event for one in events.listing(session, "main", 9).items if isinstance(one.event, TamperEvent)]
    assert (found.tampering is None, found.owner_epoch) == (ends, camera.owner_epoch + ends)
    assert told.json()["worker"] == (None if ends else "watcher")
    if ends:
        end = said[0]
        assert (end.kind, end.since, end.ended_by) == (TamperKind.COVERED, NOON, Ending.ACCEPTED)
        assert to_cloud_event(end)["sequence"] > to_cloud_event(tampering(camera, 2))["sequence"]
        with store.session() as session:
            cameras.update(session, "main", camera.id, replace(found.fields, enabled=True), found.revision)
            assert cameras.claim(session, "watcher") == {camera.id}
            (watched,) = cameras.watched(session, "watcher")
        assert (watched.owner_epoch, watched.tampering) == (camera.owner_epoch + 2, None)
    else:
        assert len(said) == 1


def test_what_keeps_a_camera_from_seeing_is_shown_while_it_is_online(api: Api, operator: httpx2.Client) -> None:
    store, path = api.services.store, f"{CAMERAS}/"
    camera = claimed_camera(store)
    put(store, camera_event(camera, 1), tampering(camera, 2))
    beat(store)
    assert operator.get(path + camera.id).json()["tampering"]["kind"] == "covered"
    put(store, camera_event(camera, 3, CameraState.OFFLINE))
    beat(store)
    assert operator.get(path + camera.id).json()["tampering"] is None
    with store.reading() as session:
        record = cameras.get(session, "main", camera.id)
        assert (record.tampering is not None, census.tampered_by_kind(session)) == (True, {})
    online = replace(record, state=CameraState.ONLINE)
    assert online.kept_from_seeing == record.tampering
    for hidden in (
        record,
        replace(online, owner=None),
        replace(online, fields=replace(online.fields, enabled=False)),
    ):
        assert hidden.kept_from_seeing is None and CameraRead.of(hidden).tampering is None


def test_a_webhook_may_ask_for_it_alone(store: Store) -> None:
    camera = claimed_camera(store)
    with store.session() as session:
        fields = WebhookFields("Guard", "https://guard.example.org/", ("camera.tampered",))
        webhook = webhooks.create(session, "main", fields, new_secret()).id
    put(store, camera_event(camera, 1), access_event(camera, 2), tampering(camera, 3), tampering(camera, 4, ended=True))
    with store.reading() as session:
        assert webhooks.get(session, "main", webhook).waiting == 2


def test_it_is_in_every_answer_about_camera_and_events(api: Api, operator: httpx2.Client) -> None:
    camera = claimed_camera(api.services.store)
    path = f"{CAMERAS}/{camera.id}"
    assert operator.get(path).json()["tampering"] is None
    for kind in TamperKind:
        number = 10 * (list(TamperKind).index(kind) + 1)
        begun = tampering(camera, number, kind=kind)
        put(api.services.store, camera_event(camera, number - 1), begun)
        beat(api.services.store)
        told = operator.get(path).json()
        assert told["state"] == "online" and told["advice"] == TAMPERED[kind]
        assert told["tampering"] == {
            "kind": kind.value,
            "detail": "the picture shows nothing",
            "since": "2026-03-01T12:00:00Z",
        }
        assert operator.get(f"{EVENTS}/{begun.id}").json() == to_cloud_event(begun) | {
            "portrait": None,
            "correction": None,
        }
    put(api.services.store, tampering(camera, 40, ended=True))
    beat(api.services.store)
    assert (operator.get(path).json()["tampering"], operator.get(path).json()["advice"]) == (None, "")
    rows = list(csv.DictReader(io.StringIO(operator.get(f"{EVENTS}/export?kind=camera").text, newline="")))
    assert [(row["tampered"], row["kind"], row["ended_at"] != "") for row in rows[:2]] == [
        ("False", "covered", True),
        ("True", "defocused", False),
    ]
    body = {"name": "Guard", "url": "https://guard.example.org/", "types": ["camera.state", "camera.tampered"]}
    assert operator.post("/v1/buildings/main/webhooks", json=body).status_code == 201
    assert 'cardea_cameras_tampered{building="main"' not in operator.get("/metrics").text


def test_listeners_hear_of_it(api: Api, operator: httpx2.Client, redis_server: RedisServer) -> None:
    camera = claimed_camera(api.services.store)
    with (
        open_stream(redis_server.url) as stream,
        operator.stream("GET", f"{EVENTS}/stream", headers={"Last-Event-ID": "0-0"}) as response,
    ):
        stream.add(tampering(camera, 1), False)
        source = EventSource(response)
        kind, event = source.next()
    assert (kind, event["type"], event["data"]["tampered"]) == ("camera", "org.cardea.camera.tampered.v1", True)


def test_the_dashboard_says_it_in_words(api: Api, visit: Callable[..., Visitor]) -> None:
    camera, visitor = claimed_camera(api.services.store), visit()
    begun, ended = tampering(camera, 2), tampering(camera, 9, ended=True)

    def page(path: str) -> str:
        beat(api.services.store)
        return " ".join(visitor.get(f"/buildings/main{path}").text.split())

    put(api.services.store, camera_event(camera, 1), begun)
    for path in ("", "/cameras", f"/cameras/{camera.id}"):
        shown = page(path)
        assert "Online, but sees nothing" in shown and "something covers its lens" in shown, path
        assert '<p class="state bad" data-state="online">' in shown, path
    assert "1 of 1 cameras needs you" in page("")
    put(api.services.store, ended)
    assert "sees nothing" not in page("")
    feed = page("/events?decision=camera")
    assert f"{camera.name}: sees nothing" in feed and f"{camera.name}: sees well again" in feed
    assert "before: sees nothing" in page(f"/events/{ended.id}")
    put(api.services.store, replace(tampering(camera, 11, ended=True), ended_by=Ending.ACCEPTED))
    assert f"{camera.name}: another view counts now" in page("/events?decision=camera")
    assert '<p class="state wait"><span class="dot"></span>Another view counts now' in page(
        f"/events/{camera.id}.{camera.owner_epoch}.11"
    )
    assert "Sees nothing" in page(f"/events/{begun.id}")


@dataclass
class Watched:
    """A worker that watches a virtual camera."""

    store: Store
    redis: RedisServer
    camera: RunningCamera
    id: str

    def said(self) -> list[dict[str, Any]]:
        """What the stream says of tampering, in order."""
        entries = [json.loads(fields["event"]) for _, fields in self.redis.client.xrange(STREAM)]
        return [event["data"] for event in entries if event["type"] == "org.cardea.camera.tampered.v1"]


def scene(cover: float) -> Iterator[Image]:
    """Eight seconds of a hallway with nobody in it, or of a hand before the lens."""
    picture = hallway(640, 480)
    skin = np.linspace(80, 150, 640)[None, :, None] * np.array([0.6, 0.8, 1.0])
    return noisy(repeat(np.asarray(picture * (1 - cover) + skin * cover, np.uint8), 40), seed=2)


@pytest.fixture
def watched(sqlite_template: Path, redis_server: RedisServer, tmp_path: Path) -> Iterator[Watched]:
    """A hallway whose camera goes on with a covered lens at a swap."""
    database = tmp_path / "cardea.db"
    database.write_bytes(sqlite_template.read_bytes())
    clips = []
    for name, cover in (("hallway", 0.0), ("hand", 1.0)):
        encode(scene(cover), tmp_path / f"{name}.mp4", 5.0)
        clips.append(Clip.load(tmp_path / f"{name}.mp4"))
    with closing(store_at(f"sqlite:///{database}")) as store, running_camera(*clips) as camera:
        identity = add_camera(store, camera.source)
        with working(Settings(worker="watcher", port=0), store, redis_server.url, Nets.open(), CollectorRegistry()):
            yield Watched(store, redis_server, camera, identity)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_covered_camera_is_noticed_and_so_is_its_end(watched: Watched) -> None:
    def online() -> bool:
        with watched.store.reading() as session:
            return cameras.get(session, "main", watched.id).state is CameraState.ONLINE

    wait_until(online, seconds=30)
    time.sleep(45)  # the view is learned
    assert watched.said() == []
    watched.camera.inject(Fault.SWAP)
    wait_until(watched.said, seconds=60)
    (begun,) = watched.said()
    assert (begun["kind"], begun["tampered"], begun["ended_at"]) == ("covered", True, None)
    assert begun["since"] < begun["at"]
    with watched.store.reading() as session:
        found = cameras.get(session, "main", watched.id)
    assert found.state is CameraState.ONLINE and found.tampering is not None
    watched.camera.inject(Fault.SWAP)
    wait_until(lambda: len(watched.said()) == 2, seconds=60)
    ended = watched.said()[1]
    assert (ended["tampered"], ended["since"], ended["ended_by"]) == (False, begun["since"], "recovered")
    assert begun["at"] < ended["ended_at"] < ended["at"]
    with watched.store.reading() as session:
        assert cameras.get(session, "main", watched.id).tampering is None
