"""Cameras, their owners and the leases of workers."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fixtures_store import access_event, claimed_camera, silence
from sqlalchemy.orm import Session

from app.errors import NotFoundError, RevisionError, StaleOwnerError
from app.store import buildings, cameras, events, keys, operations, people, webhooks, workers
from app.store.audit import SYSTEM
from app.store.engine import Store
from app.store.records import BuildingFields, CameraFields, CameraRecord, PersonFields, Scope
from app.store.webhooks import WebhookFields
from app.types import Camera, CameraState

FIELDS = CameraFields(
    name="Front door",
    source="rtsps://user:hush@camera/1",
    door="front",
    groups=frozenset({"staff", "residents"}),
    fps=7.5,
    transport="udp",
    ca_certificate="-----BEGIN CERTIFICATE-----",
    loop=True,
)


def add(store: Store, name: str = "Front door") -> CameraRecord:
    with store.session() as session:
        return cameras.create(session, "main", replace(FIELDS, name=name))


def within(store: Store, work: Callable[[Session], object]) -> object:
    with store.session() as session:
        return work(session)


def join(store: Store, worker: str) -> frozenset[str]:
    with store.session() as session:
        workers.start(session, worker, f"{worker}-1")
        return cameras.claim(session, worker)


def test_a_camera_comes_back_as_stored(store: Store) -> None:
    made = add(store)
    with store.reading() as session:
        assert cameras.get(session, "main", made.id) == made
    assert made.fields == FIELDS
    assert (made.revision, made.owner, made.owner_epoch, made.state) == (1, None, 0, None)


def test_the_password_is_in_no_repr(store: Store) -> None:
    camera = claimed_camera(store)
    with store.reading() as session:
        assert "hush" not in repr(cameras.get(session, "main", camera.id))
    assert "hush" not in repr(camera)


def test_a_worker_sees_all_it_needs(store: Store) -> None:
    made = add(store)
    join(store, "north")
    with store.reading() as session:
        assert cameras.watched(session, "north") == [
            Camera(
                id=made.id,
                building="main",
                name="Front door",
                source=FIELDS.source,
                door="front",
                groups=FIELDS.groups,
                fps=7.5,
                transport="udp",
                ca_certificate=FIELDS.ca_certificate,
                loop=True,
                revision=1,
                owner_epoch=1,
            )
        ]


def test_nothing_is_found_in_another_building(store: Store) -> None:
    camera = add(store)
    with store.session() as session:
        buildings.create(session, "tower", BuildingFields("Tower"))
        for ask in (
            lambda: cameras.get(session, "tower", camera.id),
            lambda: cameras.update(session, "tower", camera.id, FIELDS, 1),
            lambda: cameras.delete(session, "tower", camera.id),
            lambda: cameras.create(session, "nowhere", FIELDS),
            lambda: cameras.listing(session, "nowhere", 10),
        ):
            with pytest.raises(NotFoundError):
                ask()
        assert cameras.listing(session, "tower", 10).items == []


def test_listing_goes_by_name_and_loses_none(store: Store) -> None:
    for name in ("c", "a", "b", "a"):
        add(store, name)
    with store.reading() as session:
        token, found = None, []
        while token is not None or not found:
            page = cameras.listing(session, "main", 1, token)
            found += [camera.fields.name for camera in page.items]
            token = page.next_token
    assert found == ["a", "a", "b", "c"]


def test_updates_need_the_present_revision(store: Store) -> None:
    camera = add(store)
    with store.session() as session:
        changed = cameras.update(session, "main", camera.id, replace(FIELDS, source="clip.mp4"), 1)
        assert (changed.fields.source, changed.revision) == ("clip.mp4", 2)
        assert cameras.update(session, "main", camera.id, changed.fields, 2) == changed
        with pytest.raises(RevisionError):
            cameras.update(session, "main", camera.id, FIELDS, 1)


def test_claiming_takes_what_is_free_and_raises_the_epoch(store: Store) -> None:
    first, second = add(store), add(store)
    assert join(store, "north") == {first.id, second.id}
    assert join(store, "south") == frozenset()
    with store.session() as session:
        assert cameras.claim(session, "north") == frozenset()  # its own are not claimed again
        assert {camera.owner_epoch for camera in cameras.watched(session, "north")} == {1}
        assert cameras.watched(session, "south") == []
        assert cameras.get(session, "main", first.id).owner == "north"


def test_a_silent_worker_loses_its_cameras(store: Store) -> None:
    camera = add(store)
    join(store, "north")
    silence(store, "north", 4)
    assert join(store, "south") == frozenset()
    silence(store, "north", 6)
    with store.session() as session:
        assert cameras.get(session, "main", camera.id).owner is None
        assert [worker.id for worker in workers.live(session)] == ["south"]
        assert cameras.claim(session, "south") == {camera.id}
        assert cameras.watched(session, "north") == []
        assert cameras.get(session, "main", camera.id).owner_epoch == 2


def test_a_worker_that_returns_in_time_keeps_its_cameras(store: Store) -> None:
    camera = add(store)
    join(store, "north")
    join(store, "south")
    silence(store, "north", 60)
    with store.session() as session:
        workers.heartbeat(session, "north", "north-1", {"main": 3})
        assert cameras.claim(session, "south") == frozenset()
        assert [one.id for one in cameras.watched(session, "north")] == [camera.id]
        assert {worker.id: worker.galleries for worker in workers.live(session)} == {"north": {"main": 3}, "south": {}}


def test_a_restarted_worker_takes_over_from_itself_at_once(store: Store) -> None:
    camera = add(store)
    join(store, "north")
    with store.session() as session:
        workers.start(session, "north", "north-2")
        assert cameras.claim(session, "north") == {camera.id}
        assert cameras.watched(session, "north")[0].owner_epoch == 2
    with pytest.raises(StaleOwnerError), store.session() as session:
        workers.heartbeat(session, "north", "north-1", {})
    with store.session() as session:
        workers.stop(session, "north", "north-1")  # the earlier process cannot give the cameras away either
        assert len(cameras.watched(session, "north")) == 1


def test_a_worker_that_stops_frees_its_cameras(store: Store) -> None:
    camera = add(store)
    join(store, "north")
    join(store, "south")
    with store.session() as session:
        workers.stop(session, "north", "north-1")
        assert [worker.id for worker in workers.live(session)] == ["south"]
        assert cameras.claim(session, "south") == {camera.id}


def test_workers_that_never_came_back_are_forgotten(store: Store) -> None:
    join(store, "north")
    silence(store, "north", 2 * 24 * 3600)
    join(store, "south")
    with pytest.raises(StaleOwnerError), store.session() as session:
        workers.heartbeat(session, "north", "north-1", {})


def test_two_workers_that_claim_at_once_share_no_camera(store: Store) -> None:
    made = {add(store).id for _ in range(20)}
    taken: dict[str, frozenset[str]] = {}
    with store.session() as session:  # when the rival looks, nobody has heard of this worker yet
        workers.start(session, "north", "north-1")
        taken["north"] = cameras.claim(session, "north")
        rival = threading.Thread(target=lambda: taken.update(south=join(store, "south")))
        rival.start()
        rival.join(0.3)
        assert rival.is_alive()  # it waits for us
    rival.join()
    assert taken == {"north": made, "south": frozenset()}
    with store.reading() as session:
        assert {camera.owner_epoch for camera in cameras.watched(session, "north")} == {1}


def test_many_workers_that_claim_at_once_share_no_camera(store: Store) -> None:
    made = [add(store).id for _ in range(20)]
    taken: list[str] = []
    start = threading.Barrier(4)

    def work(worker: str) -> None:
        start.wait()
        taken.extend(join(store, worker))

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(made)


def test_a_disabled_camera_is_watched_by_nobody_and_returns_in_a_new_epoch(store: Store) -> None:
    camera = add(store)
    join(store, "north")
    with store.session() as session:
        off = cameras.update(session, "main", camera.id, replace(FIELDS, enabled=False), 1)
        assert (off.owner, off.state) == (None, None)
        assert cameras.watched(session, "north") == []
        assert cameras.claim(session, "north") == frozenset()
        cameras.update(session, "main", camera.id, FIELDS, 2)
        assert cameras.claim(session, "north") == {camera.id}
        assert cameras.watched(session, "north")[0].owner_epoch == 2


def test_only_the_owner_writes_the_state(store: Store) -> None:
    camera = claimed_camera(store, "north")
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with store.session() as session:
        cameras.set_state(session, camera.id, 1, CameraState.STALLED, detail="no frames for 5 s", at=moment)
        found = cameras.get(session, "main", camera.id)
    assert (found.state, found.state_detail, found.state_at) == (CameraState.STALLED, "no frames for 5 s", moment)
    with pytest.raises(StaleOwnerError), store.session() as session:
        cameras.set_state(session, camera.id, 0, CameraState.ONLINE, detail="", at=moment)


def test_a_worker_that_thaws_after_a_take_over_can_store_nothing(store: Store) -> None:
    camera = claimed_camera(store, "north")
    with store.session() as session:
        assert events.add(session, access_event(camera, 1))
    silence(store, "north", 6)
    assert join(store, "south") == {camera.id}
    with pytest.raises(StaleOwnerError), store.session() as session:
        events.add(session, access_event(camera, 2))
    with store.session() as session:
        assert events.add(session, access_event(camera, 1)) is False  # stored in time: sending again is no error
        assert events.add(session, access_event(cameras.watched(session, "south")[0], 1))


def test_a_take_over_waits_for_an_event_that_is_being_stored(store: Store) -> None:
    camera = claimed_camera(store, "north")
    silence(store, "north", 6)
    within(store, lambda session: workers.start(session, "south", "south-1"))
    with store.session() as session:
        events.add(session, access_event(camera, 1))
        rival = threading.Thread(target=lambda: within(store, lambda other: cameras.claim(other, "south")))
        rival.start()
        rival.join(0.3)
        assert rival.is_alive()
    rival.join()
    with store.reading() as session:
        assert cameras.watched(session, "south")[0].owner_epoch == 2
        assert events.last_sequence(session, camera.id, 1) == 1


def test_a_deleted_camera_takes_no_more_events_and_keeps_the_old_ones(store: Store) -> None:
    camera = claimed_camera(store)
    with store.session() as session:
        events.add(session, access_event(camera, 1))
        cameras.delete(session, "main", camera.id)
        with pytest.raises(NotFoundError):
            cameras.get(session, "main", camera.id)
    with pytest.raises(StaleOwnerError), store.session() as session:
        events.add(session, access_event(camera, 2))
    with store.session() as session:
        assert len(events.listing(session, "main", 10).items) == 1
        assert events.add(session, access_event(camera, 1)) is False


@pytest.mark.parametrize(
    "make",
    [
        lambda session: cameras.create(session, "annex", FIELDS),
        lambda session: keys.create(session, "guard", Scope.VIEWER, "annex"),
        lambda session: operations.create(session, "annex", SYSTEM, {}, timedelta(minutes=1)),
        lambda session: people.create(session, "annex", PersonFields("Ada")),
        lambda session: webhooks.create(session, "annex", WebhookFields("Alarm", "https://alarm.example/"), "whsec_"),
    ],
    ids=["camera", "key", "operation", "person", "webhook"],
)
def test_what_comes_while_its_building_is_deleted_finds_none(store: Store, make: Callable[[Session], object]) -> None:
    with store.session() as session:
        buildings.create(session, "annex", BuildingFields("Annex"))

    def come() -> None:
        with store.session() as session:
            make(session)

    with ThreadPoolExecutor(1) as pool:
        with store.session() as session:
            buildings.delete(session, "annex")
            coming = pool.submit(come)
            time.sleep(0.3)  # it waits for the building, or for the only writer
        with pytest.raises(NotFoundError):
            coming.result(timeout=10)
