"""What the store tells the metrics, read when somebody asks. Persons are never a label."""

import time
from collections.abc import Iterator
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from app.errors import StoreUnavailableError
from app.store import census, outbox
from app.store.engine import Store

DAY = timedelta(days=1)


class StoreMetrics(Collector):
    """Cameras by state and tampering, the day's events by decision, and how far the event stream is behind."""

    def __init__(self, store: Store, registry: CollectorRegistry) -> None:
        self._store = store
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield nothing: registering must not ask the store."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families as they are now; only ``cardea_store_up`` while the store is away."""
        up = GaugeMetricFamily("cardea_store_up", "1 while the database answers.")
        try:
            with self._store.reading() as session:
                cameras = census.cameras_by_state(session)
                tampered = census.tampered_by_kind(session)
                decisions = census.events_by_decision(session, DAY)
                backlog = outbox.backlog(session)
        except StoreUnavailableError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield _counted("cardea_cameras", "Cameras by state.", "state", cameras)
        yield _counted("cardea_cameras_tampered", "Cameras online that are kept from seeing.", "kind", tampered)
        yield _counted("cardea_access_events_day", "Access events of the last 24 hours.", "decision", decisions)
        yield GaugeMetricFamily("cardea_outbox_events", "Events that the stream does not have.", value=backlog.waiting)
        age = 0.0 if backlog.oldest_at is None else max(time.time() - backlog.oldest_at.timestamp(), 0.0)
        yield GaugeMetricFamily("cardea_outbox_age_seconds", "Age of the oldest of them.", value=age)


def _counted(name: str, text: str, label: str, counts: census.Counts) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["building", label])
    for labels, number in counts.items():
        family.add_metric(list(labels), number)
    return family
