"""Events over REST: history, snapshots, and the live stream that resumes, survives Redis and ends with its server."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx2
import pytest
from fixtures_api import HEARTBEAT, Api, EventSource, problem_of, running
from fixtures_redis import STREAM, RedisServer, make_event, open_stream, wait_until
from fixtures_store import access_event, camera_event, claimed_camera
from prometheus_client import CollectorRegistry

from app.events import EventStream, to_cloud_event
from app.store import events, keys
from app.store.records import Scope
from app.types import AccessEvent, Camera, CameraState, Decision

EVENTS = "/v1/buildings/main/events"
LIVE = f"{EVENTS}/stream"


@contextlib.contextmanager
def listening(client: httpx2.Client, after: str | None = None, path: str = LIVE) -> Iterator[EventSource]:
    headers = {} if after is None else {"Last-Event-ID": after}
    with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield EventSource(response)


@pytest.fixture
def stream(redis_server: RedisServer) -> Iterator[EventStream]:
    with open_stream(redis_server.url) as opened:
        yield opened


@pytest.fixture
def camera(api: Api) -> Camera:
    return claimed_camera(api.services.store)


@pytest.fixture
def history(api: Api, camera: Camera) -> list[AccessEvent]:
    """Seven access events of three decisions, a second apart, and a camera event."""
    decisions = [Decision.GRANTED, Decision.UNKNOWN, Decision.UNDECIDED]
    made = [access_event(camera, number, decision=decisions[number % 3]) for number in range(1, 8)]
    with api.services.store.session() as session:
        for event in made:
            events.add(session, event)
        events.add(session, camera_event(camera, 8, CameraState.ONLINE))
    return made


def identities(client: httpx2.Client, **filters: object) -> list[str]:
    answer = client.get(EVENTS, params=filters)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [event["id"] for event in answer.json()["items"]]


def test_the_history_is_the_newest_first_page_by_page(operator: httpx2.Client, history: list[AccessEvent]) -> None:
    everything = identities(operator)
    assert everything[1:] == [event.id for event in reversed(history)]
    found, token = [], None
    while token != "":
        answer = operator.get(EVENTS, params={"page_size": 3} | ({"page_token": token} if token else {})).json()
        found += [event["id"] for event in answer["items"]]
        token = answer["next_page_token"]
    assert found == everything
    expected = to_cloud_event(replace(history[0], snapshot=None)) | {"portrait": None, "correction": None}
    assert operator.get(f"{EVENTS}/{history[0].id}").json() == expected


def test_the_history_can_be_filtered(operator: httpx2.Client, camera: Camera, history: list[AccessEvent]) -> None:
    assert identities(operator, kind="camera") == [f"{camera.id}.{camera.owner_epoch}.8"]
    granted = [event.id for event in reversed(history) if event.decision is Decision.GRANTED]
    assert identities(operator, decision="granted") == granted
    assert len(identities(operator, camera=camera.id)) == 8 and identities(operator, camera="cam_other") == []
    middle = {"since": history[2].decided_at.isoformat(), "until": history[4].decided_at.isoformat()}
    assert identities(operator, **middle) == [history[3].id, history[2].id]
    for name, value in (("decision", "maybe"), ("kind", "x"), ("since", "yesterday"), ("since", "2026-01-01T00:00:00")):
        answer = operator.get(EVENTS, params={name: value})
        assert problem_of(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["parameter"] == name


def test_a_snapshot_is_private(api: Api, operator: httpx2.Client, camera: Camera, history: list[AccessEvent]) -> None:
    event = operator.get(f"{EVENTS}/{history[0].id}").json()
    picture = operator.get(event["data"]["snapshot"])
    assert picture.content == b"snapshot" and picture.headers["content-type"] == "image/jpeg"
    assert "no-store" in picture.headers["cache-control"] and picture.headers["x-content-type-options"] == "nosniff"
    device = api.client(Scope.DEVICE)
    assert device.get(f"{EVENTS}/{history[0].id}").status_code == 200
    assert problem_of(device.get(event["data"]["snapshot"])) == (403, "scope-too-small")
    without = f"{EVENTS}/{camera.id}.{camera.owner_epoch}.8/snapshot"
    assert problem_of(operator.get(without)) == (404, "not-found")


def test_a_device_hears_its_building_as_it_happens(api: Api, stream: EventStream) -> None:
    with listening(api.client(Scope.DEVICE, "main")) as source:
        source.wait_for_sign()
        stream.add(make_event(1, building="annex"), False)
        stream.add(make_event(2), False)
        kind, event = source.next()
    assert (kind, event["id"], event["type"]) == ("access", "cam_front.1.2", "org.cardea.access.granted.v1")


def test_a_listener_that_comes_back_misses_nothing(api: Api, operator: httpx2.Client, stream: EventStream) -> None:
    stream.add(make_event(1), False)
    with listening(operator) as source:
        source.wait_for_sign()
        stream.add(make_event(2), False)
        assert source.next()[1]["id"] == "cam_front.1.2"
    for number in (3, 4):
        stream.add(make_event(number), False)
    stream.add(make_event(5, building="annex"), False)
    with listening(operator, source.last_id) as again:
        assert [again.next()[1]["id"] for _ in range(2)] == ["cam_front.1.3", "cam_front.1.4"]
        again.wait_for_sign()
        place = again.last_id
    stream.add(make_event(6), False)
    with listening(operator, place) as third:  # the sign of life told that we are past the annex's event
        assert third.next()[1]["id"] == "cam_front.1.6"


def test_a_gap_is_told(operator: httpx2.Client, stream: EventStream, redis_server: RedisServer) -> None:
    stream.add(make_event(1), False)
    first = redis_server.client.xrange(STREAM)[0][0]
    for number in (2, 3, 4):
        stream.add(make_event(number), False)
    redis_server.client.xtrim(STREAM, maxlen=1, approximate=False)
    with listening(operator, first) as source:
        kind, told = source.next()
        assert kind == "gap" and told["requested"] == first
        assert source.next()[1]["id"] == "cam_front.1.4"
    with listening(operator, "0-0") as source:
        assert source.next()[0] == "gap"


def test_from_the_very_beginning_without_a_gap(operator: httpx2.Client, stream: EventStream) -> None:
    for number in (1, 2):
        stream.add(make_event(number), False)
    with listening(operator, "0-0") as source:
        assert [source.next()[1]["id"] for _ in range(2)] == ["cam_front.1.1", "cam_front.1.2"]


def test_a_listener_stays_while_redis_is_away(
    operator: httpx2.Client, stream: EventStream, redis_server: RedisServer
) -> None:
    with listening(operator) as source:
        source.wait_for_sign()
        stream.add(make_event(1), False)
        assert source.next()[1]["id"] == "cam_front.1.1"
        redis_server.kill()
        time.sleep(2 * HEARTBEAT)
        redis_server.start()
        stream.add(make_event(2), False)
        assert source.next()[1]["id"] == "cam_front.1.2"
        redis_server.pause()
        time.sleep(2 * HEARTBEAT)
        redis_server.resume()
        stream.add(make_event(3), False)
        assert source.next()[1]["id"] == "cam_front.1.3"


def test_a_listener_that_begins_while_redis_is_away_is_told_of_a_gap(
    operator: httpx2.Client, stream: EventStream, redis_server: RedisServer
) -> None:
    redis_server.kill()
    with listening(operator) as source:
        source.wait_for_sign()
        redis_server.start()
        assert source.next()[0] == "gap"
        stream.add(make_event(1), False)
        assert source.next()[1]["id"] == "cam_front.1.1"


def test_a_stream_that_lost_its_data_is_a_gap(
    operator: httpx2.Client, stream: EventStream, redis_server: RedisServer
) -> None:
    stream.add(make_event(1), False)
    with listening(operator, redis_server.client.xrange(STREAM)[-1][0]) as source:
        source.wait_for_sign()
        redis_server.client.flushall()
        redis_server.kill()
        redis_server.start()
        assert source.next()[0] == "gap"
        with stream.filling():
            pass
        stream.add(make_event(2), False)
        assert source.next()[1]["id"] == "cam_front.1.2"


def test_a_building_that_is_not_there_has_no_stream(lasting_operator: httpx2.Client) -> None:
    assert problem_of(lasting_operator.get(LIVE.replace("main", "nowhere"))) == (404, "not-found")


def test_a_revoked_key_loses_its_open_stream(api: Api) -> None:
    with api.services.store.session() as session:
        record, secret = keys.create(session, "door", Scope.DEVICE, "main")
    with listening(api.bearing(secret)) as source:
        source.wait_for_sign()
        with api.services.store.session() as session:
            keys.revoke(session, record.id)
        with pytest.raises(EOFError):
            source.next()


@pytest.mark.parametrize("place", ["now", "-", "5", "1-2-3", "x" * 100, "9" * 30 + "-0"])
def test_a_place_that_cannot_be_is_refused(lasting_operator: httpx2.Client, place: str) -> None:
    assert problem_of(lasting_operator.get(LIVE, headers={"Last-Event-ID": place})) == (422, "invalid-request")


def test_a_listener_that_leaves_gives_its_connection_back(operator: httpx2.Client, redis_server: RedisServer) -> None:
    before = len(redis_server.client.client_list())
    with contextlib.ExitStack() as listeners:
        sources = [listeners.enter_context(listening(operator)) for _ in range(3)]
        for source in sources:
            source.wait_for_sign()
        assert len(redis_server.client.client_list()) == before + 3
    wait_until(lambda: len(redis_server.client.client_list()) == before)


def test_an_open_stream_ends_with_its_server(api: Api) -> None:
    services = replace(api.services, registry=CollectorRegistry(), closing=asyncio.Event())
    secret = api.key()
    with contextlib.ExitStack() as listeners:
        with running(services) as address:
            headers = {"Authorization": f"Bearer {secret}"}
            client = listeners.enter_context(httpx2.Client(base_url=address, headers=headers, timeout=20))
            source = listeners.enter_context(listening(client))
            source.wait_for_sign()
            asked = time.monotonic()
        assert time.monotonic() - asked < 4  # uvicorn would cut it off after 5
        with pytest.raises(EOFError):
            source.next()
