"""The stream's server loses its data: everything of the last day is in the stream again, in order, each event once."""

import contextlib
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fixtures_redis import STREAM, RedisServer, make_event, open_stream, wait_until
from fixtures_store import claimed_camera, enrol, store_at

from app.errors import StreamEmptyError
from app.events import EventStream
from app.store import events, history, outbox
from app.store.engine import Store
from app.types import Camera, Event
from workers.outbox import OutboxSender


@contextlib.contextmanager
def sending(store: Store, server: RedisServer, length: int = 1000) -> Iterator[OutboxSender]:
    with contextlib.closing(EventStream(server.url, STREAM, length)) as stream:
        sender = OutboxSender(store, stream, lambda event, seconds: None)
        sender.start()
        try:
            yield sender
        finally:
            sender.stop(drain_seconds=5)


def keep(store: Store, camera: Camera, first: int, last: int) -> list[str]:
    """Store events numbered from `first` to `last` and return their ids."""
    made: list[Event] = [make_event(number, camera=camera.id) for number in range(first, last + 1)]
    with store.session() as session:
        for event in made:
            events.add(session, event)
    return [event.id for event in made]


def messages(server: RedisServer) -> list[dict]:
    return [json.loads(fields["event"]) for _, fields in server.client.xrange(STREAM)]


def arrived(server: RedisServer) -> list[str]:
    return [message["id"] for message in messages(server)]


def test_a_stream_that_lost_its_data_is_filled_again(
    store: Store, store_url: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    front, back = claimed_camera(store, "one"), claimed_camera(store, "two")
    sent = keep(store, front, 1, 300) + keep(store, back, 1, 5)
    with sending(store, redis_server) as sender:
        wait_until(lambda: arrived(redis_server) == sent)
        redis_server.client.flushall()
        wait_until(lambda: arrived(redis_server) == sent)  # nothing new had to happen
        redis_server.lose_everything()
        sent += keep(store, front, 301, 301)
        sender.wake()
        wait_until(lambda: arrived(redis_server) == sent)
        redis_server.client.flushall()
        with contextlib.closing(store_at(store_url)) as own, sending(own, redis_server):
            wait_until(lambda: arrived(redis_server) == sent)  # two fill it at once
        sent += keep(store, back, 6, 6)
        wait_until(lambda: arrived(redis_server) == sent)
    told = [record.getMessage() for record in caplog.records if "lost its data" in record.getMessage()]
    assert 3 <= len(told) <= 5, told  # each time, by one sender or both


def test_a_new_stream_without_a_past_is_no_trouble(
    store: Store, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with sending(store, redis_server) as sender:
        wait_until(lambda: redis_server.client.get(f"{STREAM}:marker") == "filled")
        assert not sender.outage_seconds
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_put_back_is_as_it_is_now(store: Store, redis_server: RedisServer) -> None:
    person = enrol(store, "Ada Lovelace", seed=1)
    camera = claimed_camera(store)
    known = make_event(1, camera=camera.id, person=person.id, person_name=person.fields.name)
    with store.session() as session:
        events.add(session, known)
    with sending(store, redis_server):
        wait_until(lambda: [message["data"]["person"] for message in messages(redis_server)] != [])
        assert messages(redis_server)[0]["data"]["person"] == {"id": person.id, "name": "Ada Lovelace"}
        redis_server.client.flushall()
        wait_until(lambda: messages(redis_server) != [])
        assert messages(redis_server)[0]["data"]["person"] == {"id": person.id, "name": "Ada Lovelace"}
        assert messages(redis_server)[0]["data"]["snapshot"] is not None


def test_what_a_stream_begins_with(store: Store) -> None:
    """The newest of the last day and all that waits, each camera's events by number even if its clock went back."""
    camera, other = claimed_camera(store, "one"), claimed_camera(store, "two")
    now = datetime.now(UTC)
    hours = {1: 30.0, 2: 3.0, 3: 2.0, 4: 2.5, 5: 1.0}  # the clock went back between 3 and 4
    with store.session() as session:
        for number, ago in hours.items():
            events.add(session, make_event(number, camera=camera.id, decided_at=now - timedelta(hours=ago)))
        events.add(session, make_event(1, camera=other.id, decided_at=now - timedelta(hours=2.2)))
        waiting = history.ids(session, 1)
    first, second, third, fourth, fifth = (f"{camera.id}.1.{number}" for number in hours)
    assert waiting == [first, second, f"{other.id}.1.1", third, fourth, fifth]
    with outbox.batch(store, 100):
        pass  # sent and struck off
    with store.reading() as session:
        assert history.ids(session, 100) == waiting[1:]
        assert history.ids(session, 3) == [f"{other.id}.1.1", third, fifth]


def test_filling_that_was_broken_off_goes_on(redis_server: RedisServer) -> None:
    with contextlib.closing(EventStream(redis_server.url, STREAM, 1000)) as stream:
        with pytest.raises(StreamEmptyError):
            stream.add(make_event(1), has_snapshot=True)
        with pytest.raises(RuntimeError), stream.filling() as add:
            assert add([(make_event(1), True), (make_event(2), True)]) == 2
            raise RuntimeError
        with pytest.raises(StreamEmptyError):
            stream.add(make_event(3), has_snapshot=True)
        with stream.filling() as add:
            assert add([(make_event(number), True) for number in (1, 2, 3)]) == 1
        assert not stream.add(make_event(3), has_snapshot=True)
        assert stream.add(make_event(4), has_snapshot=True)
    assert arrived(redis_server) == [f"cam_front.1.{number}" for number in (1, 2, 3, 4)]


def test_data_that_are_lost_while_a_stream_is_filled(redis_server: RedisServer) -> None:
    with open_stream(redis_server.url) as stream:
        redis_server.client.flushall()
        with pytest.raises(StreamEmptyError), stream.filling() as add:
            add([(make_event(1), True)])
            redis_server.client.flushall()
            add([(make_event(2), True)])
        with pytest.raises(StreamEmptyError), stream.filling():
            redis_server.client.flushall()
        assert arrived(redis_server) == []
