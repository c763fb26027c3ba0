"""Counts for the metrics, on both databases."""

from datetime import UTC, datetime, timedelta

from fixtures_store import access_event, camera_event, claimed_camera, silence

from app.store import cameras, census, events
from app.store.engine import Store
from app.store.records import CameraFields
from app.types import CameraState, Decision


def test_cameras_count_by_what_they_are_doing(store: Store) -> None:
    camera = claimed_camera(store)
    with store.session() as session:
        for enabled in (True, False):
            cameras.create(session, "main", CameraFields("Other", "rtsp://camera/2", enabled=enabled))
        assert census.cameras_by_state(session) == {
            ("main", "starting"): 1,
            ("main", "unwatched"): 1,
            ("main", "disabled"): 1,
        }
        events.add(session, camera_event(camera, 1, CameraState.OFFLINE))
        assert census.cameras_by_state(session)["main", "offline"] == 1
    silence(store, "watcher", 60)
    with store.reading() as session:
        assert census.cameras_by_state(session)["main", "unwatched"] == 2


def test_events_count_by_decision_within_the_span(store: Store) -> None:
    camera = claimed_camera(store)
    now = datetime.now(UTC)
    ages = {1: timedelta(hours=1), 2: timedelta(hours=2), 3: timedelta(days=3)}
    with store.session() as session:
        for number, age in ages.items():
            events.add(session, access_event(camera, number, decision=Decision.GRANTED, decided_at=now - age))
        events.add(session, access_event(camera, 4, decided_at=now))
        events.add(session, camera_event(camera, 5))
        found = census.events_by_decision(session, timedelta(days=1))
    assert found == {("main", "granted"): 2, ("main", "unknown"): 1}
