"""The example consumer as a real process: it opens once for each fresh grant, and for nothing else."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures_redis import STREAM, RedisServer, make_event, open_stream, wait_until

from app.events import EventStream, to_cloud_event
from app.types import CameraEvent, CameraState, Decision

PROGRAM = Path(__file__).parents[2] / "examples" / "door_controller.py"
SECOND = timedelta(seconds=1)


class Controller:
    """A running controller and what it has said."""

    def __init__(self, server: RedisServer, folder: Path, *options: str, consumer: str = "controller") -> None:
        self._output = folder / f"{consumer}-{time.monotonic_ns()}.jsonl"
        words = [sys.executable, str(PROGRAM), "--url", server.url, "--consumer", consumer, "--memory", "seen.db"]
        with self._output.open("wb") as output, (folder / "errors").open("ab") as errors:
            self.process = subprocess.Popen([*words, *options], cwd=folder, stdout=output, stderr=errors)

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.read_text().splitlines()]

    def opened(self) -> list[str]:
        return [line["opened"] for line in self.said() if "opened" in line]

    def refused(self) -> dict[str, str]:
        return {line["refused"]: line["reason"] for line in self.said() if "refused" in line}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def stream(redis_server: RedisServer) -> Iterator[EventStream]:
    with open_stream(redis_server.url) as opened:
        yield opened


def pending(server: RedisServer) -> int:
    return int(server.client.xpending(STREAM, "door")["pending"])


def add_raw(server: RedisServer, event: Any) -> None:
    """Put a message into the stream that the outbox would never have sent."""
    server.client.xadd(STREAM, {"event": event if isinstance(event, str) else json.dumps(to_cloud_event(event))})


def test_each_rule_of_refusal(redis_server: RedisServer, stream: EventStream, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    good = make_event(5, owner_epoch=2)
    for event in (
        make_event(4, owner_epoch=2, decided_at=now - 9 * SECOND, expires_at=now - 4 * SECOND),
        good,
        make_event(6, owner_epoch=2, decision=Decision.UNKNOWN, person=None, person_name=None),
        make_event(3, owner_epoch=2),
        make_event(99, owner_epoch=1),
        make_event(7, owner_epoch=2, decided_at=now + 60 * SECOND, expires_at=now + 65 * SECOND),
        make_event(1, camera="cam_garage", door="garage"),
        CameraEvent("cam_front.2.8", 8, 2, "main", "cam_front", CameraState.STALLED, None, "", now),
        make_event(1, camera="cam_back"),
    ):
        stream.add(event, has_snapshot=True)
    add_raw(redis_server, good)
    with contextlib.closing(Controller(redis_server, tmp_path, "--door", "front")) as controller:
        wait_until(lambda: len(controller.said()) == 8 and not pending(redis_server))
        assert controller.stop() == 0
    assert controller.opened() == ["cam_front.2.5", "cam_back.1.1"]
    assert controller.said()[1]["person"] == {"id": "per_1", "name": "Zoë Ågren"}
    refusals = [(line["refused"], line["reason"]) for line in controller.said() if "refused" in line]
    assert refusals == [
        ("cam_front.2.4", "expired"),
        ("cam_front.2.6", "unknown"),
        ("cam_front.2.3", "out_of_order"),
        ("cam_front.1.99", "out_of_order"),
        ("cam_front.2.7", "clocks_disagree"),
        ("cam_front.2.5", "repeated"),
    ]


def test_a_grant_of_a_wrong_clock_does_not_become_good_later(redis_server: RedisServer, tmp_path: Path) -> None:
    """An hour ago a worker whose clock was an hour ahead granted twice; this controller was away."""
    now = datetime.now(UTC)
    waited = to_cloud_event(make_event(1))  # by its own times it is fresh now
    entry = f"{int((now - 3600 * SECOND).timestamp() * 1000)}-0"
    redis_server.client.xadd(STREAM, {"event": json.dumps(waited)}, id=entry)
    add_raw(redis_server, make_event(2, captured_at=now - 60 * SECOND, expires_at=now + 3600 * SECOND))
    add_raw(redis_server, make_event(3, captured_at=now + 3600 * SECOND, expires_at=now + 3605 * SECOND))
    add_raw(redis_server, make_event(4))
    with contextlib.closing(Controller(redis_server, tmp_path)) as controller:
        wait_until(lambda: len(controller.said()) == 4)
    assert controller.refused() == {
        "cam_front.1.1": "expired",
        "cam_front.1.2": "expired",
        "cam_front.1.3": "clocks_disagree",
    }
    assert controller.opened() == ["cam_front.1.4"]


def test_a_restart_repeats_nothing(redis_server: RedisServer, stream: EventStream, tmp_path: Path) -> None:
    event = make_event(1, expires_at=datetime.now(UTC) + 60 * SECOND)
    stream.add(event, has_snapshot=True)
    with contextlib.closing(Controller(redis_server, tmp_path)) as first:
        wait_until(lambda: first.opened() == [event.id])
    redis_server.client.xgroup_setid(STREAM, "door", "0")  # everything is delivered again
    with contextlib.closing(Controller(redis_server, tmp_path)) as second:
        wait_until(lambda: second.refused() == {event.id: "repeated"})
        redis_server.client.delete(STREAM)  # the group is gone with its stream
        stream.add(make_event(2), has_snapshot=True)
        wait_until(lambda: second.opened() == ["cam_front.1.2"])


def test_what_a_dead_controller_left_is_taken_over_but_never_opened_twice(
    redis_server: RedisServer, stream: EventStream, tmp_path: Path
) -> None:
    """The first controller dies while it moves the door; the second one finds the message unacknowledged."""
    stream.add(make_event(1), has_snapshot=True)
    command = ("--command", f'{sys.executable} -c \'import time; open("moving", "w"); time.sleep(4)\'')
    with contextlib.closing(Controller(redis_server, tmp_path, *command, consumer="one")) as first:
        wait_until((tmp_path / "moving").exists)
    assert pending(redis_server) == 1 and not first.opened()
    with contextlib.closing(Controller(redis_server, tmp_path, "--idle-ms", "200", consumer="two")) as second:
        wait_until(lambda: second.refused() == {"cam_front.1.1": "repeated"})
        wait_until(lambda: not pending(redis_server))
        assert not second.opened()


def test_a_message_that_always_fails_is_put_aside(
    redis_server: RedisServer, stream: EventStream, tmp_path: Path
) -> None:
    for rubbish in ("no JSON", "[]", '{"type": 7}', '{"type": "org.cardea.access.granted.v1", "data": {"door": {}}}'):
        add_raw(redis_server, rubbish)
    stream.add(make_event(1, expires_at=datetime.now(UTC) + 60 * SECOND), has_snapshot=True)
    with contextlib.closing(Controller(redis_server, tmp_path, "--idle-ms", "50")) as controller:
        wait_until(lambda: controller.opened() == ["cam_front.1.1"])
        wait_until(lambda: redis_server.client.xlen(f"{STREAM}:dead") == 4)
        assert not pending(redis_server)
        assert controller.stop() == 0


def test_a_stop_of_the_stream_makes_late_grants_worthless(
    redis_server: RedisServer, stream: EventStream, tmp_path: Path
) -> None:
    with contextlib.closing(Controller(redis_server, tmp_path)) as controller:
        stream.add(make_event(1), has_snapshot=True)
        wait_until(lambda: controller.opened() == ["cam_front.1.1"])
        late = make_event(2, expires_at=datetime.now(UTC) + 0.2 * SECOND)
        redis_server.kill()
        time.sleep(1)
        redis_server.start()
        stream.add(late, has_snapshot=True)
        fresh = make_event(3)
        stream.add(fresh, has_snapshot=True)
        wait_until(lambda: controller.opened() == ["cam_front.1.1", fresh.id])
        assert controller.refused() == {late.id: "expired"}


def test_a_controller_that_hung_refuses_what_went_stale(
    redis_server: RedisServer, stream: EventStream, tmp_path: Path
) -> None:
    with contextlib.closing(Controller(redis_server, tmp_path)) as controller:
        stream.add(make_event(1), has_snapshot=True)
        wait_until(lambda: controller.opened() == ["cam_front.1.1"])
        os.kill(controller.process.pid, signal.SIGSTOP)
        stream.add(make_event(2, expires_at=datetime.now(UTC) + 0.5 * SECOND), has_snapshot=True)
        time.sleep(1)
        os.kill(controller.process.pid, signal.SIGCONT)
        wait_until(lambda: controller.refused() == {"cam_front.1.2": "expired"})


def test_a_command_moves_the_door(redis_server: RedisServer, stream: EventStream, tmp_path: Path) -> None:
    stream.add(make_event(1, expires_at=datetime.now(UTC) + 60 * SECOND), has_snapshot=True)
    with contextlib.closing(Controller(redis_server, tmp_path, "--command", "touch 'the door'")) as controller:
        wait_until(controller.opened)
    assert (tmp_path / "the door").exists()
