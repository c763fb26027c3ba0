"""A worker process stands still, and its clock is set wrong: nothing stale is granted, nothing is lost or doubled.

The processes run under libfaketime, which reads the shift of their wall clock from a file; the monotonic clock is left
alone, as a step of a real clock leaves it.
"""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures_door import add_camera, enrol_portrait, worker_process
from fixtures_faults import door_controller
from fixtures_redis import STREAM, RedisServer, wait_until
from fixtures_store import store_at

from app.cli.demo_clip import RESIDENT
from app.store import events
from app.store.engine import Store
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.simulator.clip import Clip
from workers.simulator.hosting import running_camera

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

PERIOD = 8.0  # seconds from one visit to the next
SECOND = timedelta(seconds=1)


@dataclass
class Street:
    """A camera at a door and what came of it."""

    url: str
    store: Store
    redis: RedisServer
    folder: Path
    controller: subprocess.Popen[str]

    def sent(self, kind: str = "org.cardea.") -> list[dict[str, Any]]:
        found = [json.loads(fields["event"]) for _, fields in self.redis.client.xrange(STREAM)]
        return [event for event in found if event["type"].startswith(kind)]

    def grants(self) -> list[dict[str, Any]]:
        return [event["data"] | {"id": event["id"]} for event in self.sent("org.cardea.access.granted")]

    def next_grant(self, seconds: float = 40) -> dict[str, Any]:
        before = len(self.grants())
        wait_until(lambda: len(self.grants()) > before, seconds)
        return self.grants()[before]

    @contextmanager
    def worker(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker whose wall clock is shifted by what `shift` last said."""
        self.shift(name, 0)
        wrong_clock = {
            "LD_PRELOAD": faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / name),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }
        with worker_process(self.url, self.redis.url, name, **wrong_clock) as process:
            yield process

    def shift(self, name: str, seconds: int) -> None:
        draft = self.folder / "draft"
        draft.write_text(f"{seconds:+d}")
        draft.rename(self.folder / name)

    def check_books(self) -> dict[str, str]:
        """Stored and sent agree, each event once and each camera's in order; return what the door said of each."""
        with self.store.reading() as session:
            stored = {record.event.id for record in events.listing(session, "main", 200).items}
        wait_until(lambda: stored <= {event["id"] for event in self.sent()})
        sent = self.sent()
        assert set(Counter(event["id"] for event in sent).values()) == {1}
        assert [event["sequence"] for event in sent] == sorted(event["sequence"] for event in sent)
        self.controller.terminate()
        said = [json.loads(line) for line in self.controller.communicate(timeout=10)[0].splitlines()]
        return {line.get("opened") or line["refused"]: line.get("reason", "opened") for line in said}


def faketime() -> str:
    """The library that shifts clocks; without it the test is skipped, but never in CI."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("libfaketime is not installed: apt-get install faketime")
    return str(found[0])


@pytest.fixture
def street(
    postgres_url: str,
    redis_server: RedisServer,
    brisk_clip: Clip,
    tmp_path: Path,
    portrait_files: dict[str, bytes],
    face_nets: tuple[FaceFinder, Embedder],
) -> Iterator[Street]:
    with (
        closing(store_at(postgres_url)) as store,
        running_camera(brisk_clip) as camera,
        door_controller(redis_server.url, tmp_path) as controller,
    ):
        enrol_portrait(store, RESIDENT, portrait_files[RESIDENT], face_nets)
        add_camera(store, camera.url)
        yield Street(postgres_url, store, redis_server, tmp_path, controller)


def captured(grant: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(grant["captured_at"])


def test_the_clock_of_a_worker_steps(street: Street) -> None:
    expected = {}
    with street.worker("one"):
        expected[street.next_grant(60)["id"]] = "opened"
        for hours, reason in ((1, "clocks_disagree"), (-1, "expired"), (0, "opened")):
            street.shift("one", hours * 3600)
            stepped = time.monotonic()
            grant = street.next_grant()
            if abs(captured(grant) - datetime.now(UTC) - hours * 3600 * SECOND) > 60 * SECOND:
                grant = street.next_grant()  # that one was captured before the step
            expected[grant["id"]] = reason
            print(f"\nclock at {hours:+d} h: first grant after {time.monotonic() - stepped:.1f} s")
        assert {event["data"]["owner_epoch"] for event in street.sent()} == {1}  # no lease was lost
        assert [event["data"]["state"] for event in street.sent("org.cardea.camera.")] == ["online"]
    said = street.check_books()
    assert {event: said[event] for event in expected} == expected


def test_a_worker_stands_still(street: Street) -> None:
    """Alone it goes on with what happens now; with another one beside it, it finds its camera taken."""
    with street.worker("one") as one:
        first = street.next_grant(60)
        time.sleep(max((captured(first) + (PERIOD - 0.6) * SECOND - datetime.now(UTC)).total_seconds(), 0))
        os.kill(one.pid, signal.SIGSTOP)  # the resident comes into view, passes, and is gone
        time.sleep(PERIOD - 2)
        thawed = datetime.now(UTC)
        os.kill(one.pid, signal.SIGCONT)
        grant = street.next_grant()
        print(f"\nalone: granted {(captured(grant) - thawed).total_seconds():.1f} s after it went on")
        phase = (captured(grant) - captured(first)).total_seconds() / PERIOD
        assert captured(grant) > thawed and abs(phase - round(phase)) < 0.15, phase  # of a visit, not of a buffer

        with street.worker("two"):
            stopped = datetime.now(UTC)
            os.kill(one.pid, signal.SIGSTOP)
            grant = street.next_grant(60)
            print(f"taken over: granted {(captured(grant) - stopped).total_seconds():.1f} s after it stood still")
            os.kill(one.pid, signal.SIGCONT)
            street.next_grant()
            assert one.poll() is None  # it stands by
        epochs = [(event["data"]["owner_epoch"], event["time"]) for event in street.sent()]
        assert max(moment for epoch, moment in epochs if epoch == 1) < stopped.isoformat()
    said = street.check_books()
    assert set(said.values()) <= {"opened", "undecided", "expired"}
