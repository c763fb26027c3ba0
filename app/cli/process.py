"""The parts of a process, each opened and closed by one block; a command is the blocks that it nests.

Closing goes inside out: cameras stop first, their last events are stored and sent, then the stream, then the store.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from app.embedded import EmbeddedServer
from app.events import EventStream
from app.keyring import Keyring
from app.memory import Overwriting
from app.settings import Settings
from app.store import keys, tombstones
from app.store.engine import Store
from app.types import Event
from workers.live import LiveView
from workers.metrics import WorkerMetrics, send_latency
from workers.outbox import OutboxSender
from workers.pipeline import Nets
from workers.worker import Choices, Worker
from workers.writer import EventWriter

DRAIN = 5.0  # seconds that the last events may take


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """Open the database and bring its schema up to date.

    Raises:
        SetupError: URL, migrations or key file cannot be used.
        StoreUnavailableError: the database does not answer.
    """
    store = Store(settings.database(), Keyring(settings.keys()))
    try:
        store.migrate()
        tombstones.complete_ledger(store)
        yield store
    finally:
        store.close()


@contextmanager
def stream_server(settings: Settings) -> Iterator[str]:
    """Yield the URL of the Redis that carries the events; without one in the settings, run an embedded server."""
    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    server = EmbeddedServer(settings.data / "stream")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def first_key(store: Store) -> str | None:
    """Return the secret of the operator's key when this is the first run, None later on."""
    with store.session() as session:
        return keys.ensure_first_key(session)


@contextmanager
def working(
    settings: Settings,
    store: Store,
    redis_url: str,
    nets: Nets,
    registry: CollectorRegistry,
    on_sent: Callable[[Event, float], None] = lambda event, seconds: None,
) -> Iterator[Worker]:
    """Run a worker: cameras, inference, writing and sending.

    Args:
        on_sent: told of each event that reached the stream, and the seconds since it was decided.
    """
    latency = send_latency(registry)

    def stale(camera: str, owner_epoch: int) -> None:
        worker.lose(camera, owner_epoch)

    def sent(event: Event, seconds: float) -> None:
        latency.observe(seconds)
        on_sent(event, seconds)

    def forget() -> None:
        with overwriting.freed():
            store.renew()

    overwriting = Overwriting()
    stream = EventStream(redis_url, settings.stream, settings.stream_length)
    sender = OutboxSender(store, stream, sent, overwriting.freed)
    writer = EventWriter(store, sender.wake, stale)
    choices = Choices(settings.worker, settings.gate, settings.grant_seconds)
    live = LiveView(redis_url, settings.stream, lambda: worker.watched)
    worker = Worker(store, nets, writer.put, lambda: writer.alive and sender.alive, choices, live, forget)
    WorkerMetrics(worker, registry)
    sender.start()
    writer.start()
    live.start()
    try:
        worker.start()
        yield worker
    finally:
        worker.stop()
        live.stop()
        writer.stop(DRAIN)
        worker.leave()
        sender.stop(DRAIN)
        stream.close()
