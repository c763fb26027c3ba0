"""The delivering thread: takes what is due, posts it, notes what came of it."""

import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta

import httpcore2

from app.errors import StoreUnavailableError
from app.events import to_cloud_event
from app.side_job import SideJob
from app.store import deliveries, webhooks
from app.store.deliveries import DueDelivery
from app.store.engine import Store
from app.webhooks.addresses import GuardedBackend, Network
from app.webhooks.signature import headers

POLL_SECONDS = 0.5
ANSWER_SECONDS = 10.0
AT_ONCE = 8  # webhooks served at a time: a slow one holds up itself
HOLD = timedelta(seconds=60)  # longer than any attempt: a delivery is never in two hands
GONE = 410

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one POST."""

    status: int | None  # None: no answer
    error: str  # for people; empty when it was taken

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it: any 2xx."""
        return self.status is not None and 200 <= self.status < 300


class Poster:
    """Posts signed messages to permitted addresses; follows no redirect and uses no proxy. Threads may share it."""

    def __init__(self, networks: Sequence[Network], seconds: float = 2 * ANSWER_SECONDS) -> None:
        self._pool = httpcore2.ConnectionPool(
            max_connections=AT_ONCE * 2,
            max_keepalive_connections=0,  # a connection lasts for one attempt
            network_backend=GuardedBackend(networks, seconds),
        )

    def post(self, url: str, secrets: Sequence[str], message: str, body: bytes) -> Attempt:
        """Post one message and return what came of it; the answer's body is not read."""
        sent = headers(secrets, message, int(time.time()), body)
        sent |= {"content-type": "application/cloudevents+json", "user-agent": "Cardea"}
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), ANSWER_SECONDS)}
        try:
            with self._pool.stream(
                "POST", url, headers=list(sent.items()), content=body, extensions=limits
            ) as response:
                status = int(response.status)
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            return Attempt(None, str(error) or f"no answer within {ANSWER_SECONDS:.0f} s")
        return Attempt(status, "" if 200 <= status < 300 else f"answered {status}")

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class WebhookSender(SideJob):
    """Delivers events. Any number of processes may share a database: each delivery is in one hand at a time."""

    def __init__(self, store: Store, poster: Poster) -> None:
        self._store = store
        self._poster = poster
        super().__init__("webhooks")

    def _run(self) -> None:
        away = False
        at_work: set[Future[None]] = set()
        with ThreadPoolExecutor(AT_ONCE, "webhook") as pool:
            while not self._stopping.is_set():
                at_work = {future for future in at_work if not future.done()}
                try:
                    due = self._take(AT_ONCE - len(at_work))
                    away = False
                except StoreUnavailableError as error:
                    if not away:
                        log.warning("%s; webhooks wait until it is back", error)
                    away, due = True, []
                at_work |= {pool.submit(self._deliver, one) for one in due}
                if at_work:
                    wait(at_work, POLL_SECONDS, FIRST_COMPLETED)
                else:
                    self._stopping.wait(POLL_SECONDS)

    def _take(self, most: int) -> list[DueDelivery]:
        with self._store.reading() as session:
            if not deliveries.any_due(session):
                return []  # the usual case must not need the database's one writer
        with self._store.session() as session:
            return deliveries.take_due(session, most, HOLD)

    def _deliver(self, due: DueDelivery) -> None:
        try:
            self._attempt(due)
        except StoreUnavailableError:
            log.warning("webhook %s: the outcome could not be noted; the event will be sent again", due.webhook)
        except Exception:  # the edge of this thread: one address that breaks a library must not be tried for ever
            log.exception("webhook %s: the attempt broke off", due.webhook)
            self._finish(due, Attempt(None, "the attempt broke off; the log says why"))

    def _attempt(self, due: DueDelivery) -> None:
        event = due.record.event
        body = json.dumps(to_cloud_event(event, due.record.has_snapshot), ensure_ascii=False).encode()
        attempt = self._poster.post(due.url, due.secrets, event.id, body)
        self._finish(due, attempt)
        if not attempt.delivered:
            log.warning("webhook %s: %s", due.webhook, attempt.error)

    def _finish(self, due: DueDelivery, attempt: Attempt) -> None:
        with self._store.session() as session:
            deliveries.finish(session, due, delivered=attempt.delivered, status=attempt.status, error=attempt.error)
            if attempt.status == GONE:
                webhooks.disable(session, due.webhook, "the receiver answered 410 Gone: it wants no more")
