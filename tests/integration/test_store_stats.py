"""What workers tell of their cameras: kept with the heartbeat, shown while the teller lives and owns the camera."""

import uuid
from datetime import UTC, datetime

from fixtures_store import claimed_camera, silence

from app.store import buildings, cameras, workers
from app.store.engine import Store
from app.store.records import BuildingFields, CameraStats

STATS = CameraStats(
    since=datetime(2026, 1, 1, 8, tzinfo=UTC),
    seconds=60.5,
    fps=5.0,
    lag=0.031,
    decoded=1500,
    analysed=300,
    exited=280,
    dropped=2,
    cpu_ms={"decode": 450.5, "stem": 540.0, "tail": 260.25},
)


def told(store: Store, building: str = "main") -> dict[str, CameraStats]:
    with store.reading() as session:
        return workers.stats(session, building)


def beat(store: Store, incarnation: str, stats: dict[str, CameraStats] | None) -> None:
    with store.session() as session:
        workers.heartbeat(session, "north", incarnation, {}, stats)


def test_figures_come_back_as_told_until_new_ones_come(store: Store) -> None:
    camera, incarnation = claimed_camera(store, "north"), uuid.uuid4().hex
    assert told(store) == {}
    with store.session() as session:
        workers.start(session, "north", incarnation)
        cameras.claim(session, "north")
    beat(store, incarnation, {camera.id: STATS, "cam_gone": STATS})
    assert told(store) == {camera.id: STATS}
    assert list(told(store)[camera.id].cpu_ms) == list(STATS.cpu_ms)
    beat(store, incarnation, None)
    assert told(store) == {camera.id: STATS}
    with store.session() as session:
        buildings.create(session, "annex", BuildingFields("Annex"))
    assert told(store, "annex") == {}
    beat(store, incarnation, {})
    assert told(store) == {}


def test_who_is_silent_or_has_lost_the_camera_tells_nothing(store: Store) -> None:
    camera, incarnation = claimed_camera(store, "north"), uuid.uuid4().hex
    with store.session() as session:
        workers.start(session, "north", incarnation)
        cameras.claim(session, "north")
    beat(store, incarnation, {camera.id: STATS})
    silence(store, "north", 6)
    assert told(store) == {}
    with store.session() as session:
        workers.start(session, "south", "south-1")
        assert cameras.claim(session, "south") == {camera.id}
    beat(store, incarnation, None)  # north wakes up: it lives, but the camera is another's
    assert told(store) == {}
