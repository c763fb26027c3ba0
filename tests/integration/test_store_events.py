"""Events and their way through the outbox."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fixtures_store import access_event, camera_event, claimed_camera, enrol
from sqlalchemy import text

from app.errors import CursorError, NotFoundError, StaleOwnerError
from app.store import buildings, cameras, events, outbox
from app.store.engine import Store
from app.store.records import BuildingFields, EventFilter, EventRecord
from app.types import CameraState, Decision, Event

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def put(store: Store, *new: Event) -> None:
    for event in new:
        with store.session() as session:
            assert events.add(session, event)


def sequences(store: Store, only: EventFilter | None = None, size: int = 100) -> list[int]:
    found: list[EventRecord] = []
    token = None
    with store.reading() as session:
        while token is not None or not found:
            page = events.listing(session, "main", size, token, only)
            found += page.items
            token = page.next_token
            if not page.items:
                break
    return [record.event.sequence for record in found]


def counts(store: Store) -> list[Any]:
    with store.reading() as session:
        return [session.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("events", "snapshots", "outbox")]


def test_an_access_event_comes_back_as_stored(store: Store) -> None:
    camera, person = claimed_camera(store), enrol(store, "Ada", 1)
    event = access_event(camera, 1, decision=Decision.GRANTED, person=person.id, person_name="Ada")
    put(store, event)
    with store.reading() as session:
        found = events.get(session, "main", event.id)
        assert found == EventRecord(replace(event, snapshot=None), has_snapshot=True)
        assert events.snapshot(session, "main", event.id) == b"snapshot"


def test_an_event_of_nothing_but_doubt_comes_back_as_stored(store: Store) -> None:
    event = access_event(
        claimed_camera(store), 1, similarity=None, margin=None, quality=None, box=None, snapshot=None, reasons=()
    )
    put(store, event)
    with store.reading() as session:
        assert events.get(session, "main", event.id) == EventRecord(event, has_snapshot=False)
        with pytest.raises(NotFoundError, match="picture"):
            events.snapshot(session, "main", event.id)


def test_a_camera_event_comes_back_and_tells_the_state(store: Store) -> None:
    camera = claimed_camera(store)
    event = replace(camera_event(camera, 1, CameraState.OFFLINE), previous=CameraState.ONLINE)
    put(store, event)
    with store.reading() as session:
        assert events.get(session, "main", event.id) == EventRecord(event, has_snapshot=False)
        found = cameras.get(session, "main", camera.id)
    assert (found.state, found.state_detail, found.state_at) == (CameraState.OFFLINE, "no route to host", event.at)


def test_an_event_is_stored_once(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, access_event(camera, 1), camera_event(camera, 2))
    with store.session() as session:
        assert events.add(session, access_event(camera, 1, decision=Decision.GRANTED)) is False
        assert events.add(session, camera_event(camera, 2, CameraState.STALLED)) is False
        assert events.get(session, "main", access_event(camera, 1).id).event.decision == Decision.UNKNOWN  # type: ignore[union-attr]
        assert cameras.get(session, "main", camera.id).state == CameraState.ONLINE
    assert counts(store) == [2, 1, 2]


def test_an_event_sent_twice_at_once_is_stored_once(store: Store) -> None:
    camera = claimed_camera(store)
    stored: list[bool] = []

    def send() -> None:
        with store.session() as session:
            stored.append(events.add(session, access_event(camera, 1)))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored) == [False, False, False, True]
    assert counts(store) == [1, 1, 1]


def test_an_event_is_stored_whole_or_not_at_all(store: Store) -> None:
    camera = claimed_camera(store)
    with pytest.raises(StaleOwnerError), store.session() as session:
        events.add(session, access_event(camera, 1))
        events.add(session, replace(access_event(camera, 2), owner_epoch=7))
    assert counts(store) == [0, 0, 0]


def test_the_last_sequence_is_per_camera_and_epoch(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, access_event(camera, 1), camera_event(camera, 5))
    with store.reading() as session:
        assert events.last_sequence(session, camera.id, 1) == 5
        assert events.last_sequence(session, camera.id, 2) == 0


def test_listing_is_newest_first_and_loses_none(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, *(access_event(camera, number) for number in (3, 1, 2)))
    same = [replace(access_event(camera, number), decided_at=NOON) for number in (4, 5, 6)]
    put(store, *same)
    for size in (1, 2, 3, 100):
        found = sequences(store, size=size)
        assert found[:3] == [3, 2, 1] and sorted(found[3:]) == [4, 5, 6]


def test_rows_that_arrive_meanwhile_shift_no_page(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, *(access_event(camera, number) for number in (1, 2, 3)))
    with store.reading() as session:
        token = events.listing(session, "main", 2).next_token
    put(store, access_event(camera, 4))
    with store.reading() as session:
        assert [record.event.sequence for record in events.listing(session, "main", 2, token).items] == [1]


def test_filters(store: Store) -> None:
    first, person = claimed_camera(store), enrol(store, "Ada", 1)
    put(store, access_event(first, 1), camera_event(first, 2))
    put(store, access_event(first, 3, decision=Decision.DENIED, person=person.id, person_name="Ada"))
    second = claimed_camera(store, "other")
    put(store, access_event(second, 4))
    assert sequences(store, EventFilter(kind="access")) == [4, 3, 1]
    assert sequences(store, EventFilter(kind="camera")) == [2]
    assert sequences(store, EventFilter(decision=Decision.DENIED)) == [3]
    assert sequences(store, EventFilter(camera=second.id)) == [4]
    assert sequences(store, EventFilter(person=person.id)) == [3]
    assert sequences(store, EventFilter(since=NOON + timedelta(seconds=2))) == [4, 3, 2]
    assert sequences(store, EventFilter(until=NOON + timedelta(seconds=2))) == [1]
    assert sequences(store, EventFilter(kind="access", camera=first.id, until=NOON + timedelta(seconds=3))) == [1]


def test_nothing_is_found_in_another_building(store: Store) -> None:
    event = access_event(claimed_camera(store), 1)
    put(store, event)
    with store.session() as session:
        buildings.create(session, "tower", BuildingFields("Tower"))
        assert events.listing(session, "tower", 10).items == []
        for ask in (
            lambda: events.get(session, "tower", event.id),
            lambda: events.snapshot(session, "tower", event.id),
            lambda: events.listing(session, "nowhere", 10),
        ):
            with pytest.raises(NotFoundError):
                ask()
        with pytest.raises(CursorError):
            events.listing(session, "main", 10, "WyJ5ZXN0ZXJkYXkiLCAiYSJd")


def waiting(store: Store) -> tuple[int, datetime | None]:
    with store.reading() as session:
        state = outbox.backlog(session)
    return state.waiting, state.oldest_at


def test_the_outbox_hands_out_the_oldest_first_and_forgets_what_was_sent(store: Store) -> None:
    camera = claimed_camera(store)
    assert waiting(store) == (0, None)
    put(store, access_event(camera, 1), camera_event(camera, 2), access_event(camera, 3, snapshot=None))
    assert waiting(store) == (3, NOON + timedelta(seconds=1))
    with outbox.batch(store, 2) as records:
        assert [(record.event.sequence, record.has_snapshot) for record in records] == [(1, True), (2, False)]
    assert waiting(store) == (1, NOON + timedelta(seconds=3))
    with outbox.batch(store, 2) as records:
        assert [(record.event.sequence, record.has_snapshot) for record in records] == [(3, False)]
    with outbox.batch(store, 2) as records:
        assert records == []
    assert counts(store) == [3, 1, 0]


def test_what_could_not_be_sent_stays(store: Store) -> None:
    put(store, access_event(claimed_camera(store), 1))
    with pytest.raises(ConnectionError), outbox.batch(store, 10):
        raise ConnectionError
    assert waiting(store)[0] == 1


def test_events_are_stored_while_a_batch_is_being_sent(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, access_event(camera, 1))
    with outbox.batch(store, 10):
        put(store, access_event(camera, 2))
    assert waiting(store) == (1, NOON + timedelta(seconds=2))


def test_two_senders_may_strike_off_the_same_events(store: Store) -> None:
    camera = claimed_camera(store)
    put(store, *(access_event(camera, number) for number in (1, 2, 3)))
    with outbox.batch(store, 2) as first, outbox.batch(store, 2) as second:
        assert first == second
        assert [record.event.sequence for record in first] == [1, 2]
    assert waiting(store) == (1, NOON + timedelta(seconds=3))
