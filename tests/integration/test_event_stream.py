"""The event stream on a real server: each id once, whatever the server does meanwhile."""

import json
from collections.abc import Iterator

import pytest
from fixtures_redis import STREAM, RedisServer, make_event, open_stream, wait_until

from app.errors import SetupError, StreamUnavailableError
from app.events import EventStream


@pytest.fixture
def stream(redis_server: RedisServer) -> Iterator[EventStream]:
    with open_stream(redis_server.url) as opened:
        yield opened


def messages(server: RedisServer) -> list[dict]:
    return [json.loads(fields["event"]) for _, fields in server.client.xrange(STREAM)]


def test_an_event_is_added_once(redis_server: RedisServer, stream: EventStream) -> None:
    stream.check()
    assert stream.add(make_event(1), has_snapshot=True)
    assert not stream.add(make_event(1), has_snapshot=True)
    assert stream.add(make_event(2), has_snapshot=False)
    first, second = messages(redis_server)
    assert (first["id"], second["id"]) == ("cam_front.1.1", "cam_front.1.2")
    assert first["data"]["person"]["name"] == "Zoë Ågren"
    assert second["data"]["snapshot"] is None


def test_an_id_is_remembered_after_its_entry_was_trimmed(redis_server: RedisServer, stream: EventStream) -> None:
    stream.add(make_event(1), has_snapshot=True)
    redis_server.client.xtrim(STREAM, maxlen=0, approximate=False)
    assert not stream.add(make_event(1), has_snapshot=True)
    assert 6 * 86400 < redis_server.client.ttl(f"{STREAM}:sent:cam_front.1.1") <= 7 * 86400


def test_the_stream_is_kept_near_its_length(redis_server: RedisServer) -> None:
    with open_stream(redis_server.url, length=200) as stream:
        for sequence in range(1, 601):
            stream.add(make_event(sequence), has_snapshot=True)
    kept = [message["data"]["sequence"] for message in messages(redis_server)]
    assert 200 <= len(kept) <= 300
    assert kept == list(range(601 - len(kept), 601))


def test_a_full_server_takes_nothing_and_remembers_nothing(redis_server: RedisServer, stream: EventStream) -> None:
    redis_server.client.config_set("maxmemory", "1mb")
    with pytest.raises(StreamUnavailableError):
        stream.add(make_event(1), has_snapshot=True)
    redis_server.client.config_set("maxmemory", "0")
    assert stream.add(make_event(1), has_snapshot=True)
    assert len(messages(redis_server)) == 1


def test_an_event_whose_answer_was_lost_is_not_doubled(redis_server: RedisServer, stream: EventStream) -> None:
    assert stream.add(make_event(1), has_snapshot=True)
    redis_server.pause()
    with pytest.raises(StreamUnavailableError):
        stream.add(make_event(2), has_snapshot=True)
    redis_server.resume()  # it finds the command in its socket and obeys, though nobody waits for the answer
    wait_until(lambda: len(messages(redis_server)) == 2)
    assert not stream.add(make_event(2), has_snapshot=True)
    assert len(messages(redis_server)) == 2


def test_what_was_acknowledged_survives_a_kill(redis_server: RedisServer, stream: EventStream) -> None:
    for sequence in range(1, 51):
        stream.add(make_event(sequence), has_snapshot=True)
    redis_server.kill()
    with pytest.raises(StreamUnavailableError):
        stream.check()
    redis_server.start()
    assert len(messages(redis_server)) == 50
    assert not stream.add(make_event(50), has_snapshot=True)


def test_a_broken_address_is_told_without_its_password() -> None:
    with pytest.raises(SetupError) as broken:
        EventStream("redsi://:s3cret@localhost:6379", STREAM, length=1000)
    assert "s3cret" not in str(broken.value)
