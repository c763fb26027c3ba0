"""What the endpoints work with: ready objects, made by whoever starts the process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from app.api.problems import ProblemError
from app.store import templates
from app.store.engine import Store
from app.vision.embedder import Embedder
from app.vision.embedders import Embedders
from app.vision.faces import FaceFinder
from app.webhooks.addresses import Network


class Turnstile:
    """Lets a few callers work at a time and a few more wait; whoever comes then is turned away.

    Decoding and embedding a photo takes a core and a hundred megabytes for a moment. Without the second limit a crowd
    of uploads would hold all threads of the server, and nobody could even ask for its health.
    """

    def __init__(
        self, working: int = 2, waiting: int = 14, busy: str = "Too many photos are being looked at now."
    ) -> None:
        self._busy = busy
        self._present = threading.BoundedSemaphore(working + waiting)
        self._working = threading.BoundedSemaphore(working)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn.

        Raises:
            ProblemError: too many wait already.
        """
        if not self._present.acquire(blocking=False):
            raise ProblemError("too-busy", self._busy, {"Retry-After": "2"})
        try:
            with self._working:
                yield
        finally:
            self._present.release()


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that outlives a request. `closing` is set when the server begins to stop."""

    store: Store
    finder: FaceFinder
    embedders: Embedders
    redis_url: str = field(repr=False)  # may hold a password
    stream: str  # key of the Redis stream
    registry: CollectorRegistry  # what /metrics shows
    target_fpir: float = 1e-3  # what new buildings begin with
    videos: Path | None = None  # folder of the video files that may be sources of cameras
    webhook_networks: tuple[Network, ...] = ()  # private networks that webhooks may reach
    heartbeat: float = 15.0  # seconds between signs of life on a quiet event stream
    turnstile: Turnstile = field(default_factory=Turnstile)
    checks: Turnstile = field(default_factory=lambda: Turnstile(2, 2, "Too many cameras are being checked now."))
    overviews: Turnstile = field(default_factory=lambda: Turnstile(1, 3, "Too many galleries are being examined now."))
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def embedder(self) -> Embedder:
        """Return the live embedder; one request asks once, for somebody may switch meanwhile.

        Raises:
            EmbedderError: it is not at hand.
        """
        with self.store.reading() as session:
            return self.embedders.of(templates.live(session))


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Serving = Annotated[Services, Depends(_services)]
