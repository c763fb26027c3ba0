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

PERIOD = 7.0  # seconds from one visit to the next
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

    @property
    def first_seen(self) -> datetime:
        """Capture of the first grant, by a right clock."""
        return captured(self.grants()[0])

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


def test_clocks_that_step_and_a_worker_that_stands_still(street: Street, capfd: pytest.CaptureFixture[str]) -> None:
    with street.worker("one") as one:
        expected = {street.next_grant(60)["id"]: "opened"} | clock_steps(street)
        expected[stands_still(street, one)] = "opened"
        assert {event["data"]["owner_epoch"] for event in street.sent()} == {1}  # no lease was lost
        is_taken_over(street, one)
    printed = "".join(capfd.readouterr())
    print(printed)
    assert "3600 s ahead of the database's" in printed and "3600 s behind the database's" in printed
    said = street.check_books()
    assert {event: said[event] for event in expected} == expected
    assert set(said.values()) <= {"opened", "undecided", "expired", "clocks_disagree"}


def clock_steps(street: Street) -> dict[str, str]:
    """The worker's clock goes an hour ahead, then an hour behind; return what the door should say of its grants."""
    expected = {}
    for hours, reason in ((1, "clocks_disagree"), (-1, "expired")):
        street.shift("one", hours * 3600)
        stepped = time.monotonic()
        grant = street.next_grant()
        assert abs(captured(grant) - datetime.now(UTC) - hours * 3600 * SECOND) < 60 * SECOND
        expected[grant["id"]] = reason
        print(f"\nclock at {hours:+d} h: granted after {time.monotonic() - stepped:.1f} s, refused as {reason}")
    street.shift("one", 0)
    return expected


def stands_still(street: Street, one: subprocess.Popen[bytes]) -> str:
    """Alone it goes on with who is there now, not with the pictures that waited; return its next grant."""
    before = street.first_seen + PERIOD * SECOND * (1 + (datetime.now(UTC) - street.first_seen) // (PERIOD * SECOND))
    time.sleep((before - 0.6 * SECOND - datetime.now(UTC)).total_seconds() % PERIOD)
    os.kill(one.pid, signal.SIGSTOP)  # the resident comes into view, passes, and is gone
    time.sleep(PERIOD - 2)
    thawed = datetime.now(UTC)
    os.kill(one.pid, signal.SIGCONT)
    grant = street.next_grant()
    print(
        f"stopped for {PERIOD - 2:.0f} s: granted {(captured(grant) - thawed).total_seconds():.1f} s after it went on"
    )
    phase = (captured(grant) - street.first_seen).total_seconds() / PERIOD
    assert captured(grant) > thawed and abs(phase - round(phase)) < 0.15, phase  # of a visit, not of a buffer
    return str(grant["id"])


def is_taken_over(street: Street, one: subprocess.Popen[bytes]) -> None:
    """Another worker takes the camera; the first one wakes up, stores nothing more and stands by."""
    with street.worker("two"):
        stopped = datetime.now(UTC)
        os.kill(one.pid, signal.SIGSTOP)
        grant = street.next_grant(60)
        print(f"taken over: granted {(captured(grant) - stopped).total_seconds():.1f} s after it stood still")
        assert grant["owner_epoch"] == 2
        os.kill(one.pid, signal.SIGCONT)
        time.sleep(3)
        assert one.poll() is None
    told = [(event["data"]["owner_epoch"], datetime.fromisoformat(event["time"])) for event in street.sent()]
    assert max(moment for epoch, moment in told if epoch == 1 and moment < stopped + 600 * SECOND) < stopped
