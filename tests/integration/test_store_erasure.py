"""Erasure: rows, pictures, events, workers, and the bytes in the files."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_store import access_event, claimed_camera, enrol, silence, store_at, unit_vector
from sqlalchemy import text

from app.errors import NotFoundError
from app.gallery import Gallery
from app.store import erasure, events, galleries, people, workers
from app.store.engine import Store
from app.store.records import Forgotten, PersonRecord, Receipt, Remains
from app.types import AccessEvent, Camera, Decision


def granted(camera: Camera, sequence: int, person: PersonRecord) -> AccessEvent:
    return access_event(
        camera, sequence, decision=Decision.GRANTED, person=person.id, snapshot=b"face", portrait=b"eyes"
    )


def erase(store: Store, person: PersonRecord) -> Receipt:
    return erasure.erase_person(store, "main", person.id, patience=0)


def everything(store: Store) -> str:
    """All rows of all tables but the list of changes, whose person ids mean nobody any more."""
    tables = ("persons", "photos", "templates", "events", "snapshots", "outbox", "workers")
    with store.reading() as session:
        return str([session.execute(text(f"SELECT * FROM {table}")).all() for table in tables])


def test_a_person_is_gone_and_the_receipt_says_so(store: Store) -> None:
    ada, ben = enrol(store, "Ada", 1), enrol(store, "Ben", 2)
    camera = claimed_camera(store)
    with store.session() as session:
        workers.stop(session, "watcher", session.scalar(text("SELECT incarnation FROM workers")))
        for sequence, person in enumerate((ada, ada, ben), 1):
            events.add(session, granted(camera, sequence, person))
        events.add(session, access_event(camera, 4))
    receipt = erase(store, ada)
    removed = receipt.removed
    assert (removed.building, removed.person, removed.photos, removed.templates) == ("main", ada.id, 1, 1)
    assert (removed.events, removed.snapshots, removed.portraits, removed.sequence) == (2, 2, 2, 3)
    assert (receipt.workers, receipt.complete) == ({}, True)
    rows = everything(store)
    assert ada.id not in rows and "Ada" not in rows
    assert ben.id in rows and "Ben" in rows
    with store.reading() as session:
        found = events.listing(session, "main", 10).items
        assert [record.has_snapshot for record in found] == [True, True, False, False]
        event = found[-1].event
        assert isinstance(event, AccessEvent)
        assert (event.decision, event.person, event.person_name) == (Decision.GRANTED, None, None)
        with pytest.raises(NotFoundError):
            people.get(session, "main", ada.id)
    with pytest.raises(NotFoundError):
        erase(store, ada)


def test_nobody_is_erased_in_another_building(store: Store) -> None:
    ada = enrol(store, "Ada", 1)
    with pytest.raises(NotFoundError):
        erasure.erase_person(store, "tower", ada.id)
    with store.reading() as session:
        assert people.get(session, "main", ada.id) == ada


def test_a_gallery_loses_the_person(store: Store) -> None:
    ada, ben = enrol(store, "Ada", 1), enrol(store, "Ben", 2)
    gallery = Gallery(16)
    for step in (0, 1):
        with store.reading() as session:
            gallery.apply(galleries.changes_since(session, "main", gallery.sequence, "net"))
        if not step:
            assert erase(store, ada).removed.sequence == 3
    assert (gallery.sequence, gallery.templates, gallery.person(ada.id)) == (3, 1, None)
    match = gallery.search(unit_vector(1)[None])[0]
    assert match.person is not None and match.person.id == ben.id and match.margin == 2


def test_one_photo_can_be_erased(store: Store) -> None:
    ada = enrol(store, "Ada", 1)
    with store.reading() as session:
        photo = people.photos(session, "main", ada.id)[0]
    receipt = erasure.erase_photo(store, "main", ada.id, photo.id)
    assert (receipt.removed.photos, receipt.removed.templates, receipt.removed.sequence, receipt.complete) == (
        1,
        1,
        2,
        True,
    )
    with store.reading() as session:
        assert people.get(session, "main", ada.id).photos == 0
    with pytest.raises(NotFoundError):
        erasure.erase_photo(store, "main", ada.id, photo.id)


@contextlib.contextmanager
def following(store: Store, worker: str, every: float = 0.05) -> Iterator[None]:
    """A worker that lives, and whose gallery follows the building."""
    with store.session() as session:
        workers.start(session, worker, f"{worker}-1")
    stopping = threading.Event()

    def follow() -> None:
        while not stopping.wait(every):
            with store.session() as session:
                workers.heartbeat(session, worker, f"{worker}-1", galleries.sequences(session))

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_the_answer_waits_for_every_live_worker(store: Store) -> None:
    ada = enrol(store, "Ada", 1)
    with following(store, "north"), following(store, "south", every=0.4):
        started = time.monotonic()
        receipt = erasure.erase_person(store, "main", ada.id)
    assert receipt.workers == {"north": Forgotten.CONFIRMED, "south": Forgotten.CONFIRMED}
    assert receipt.complete
    assert time.monotonic() - started < erasure.PATIENCE


def test_a_worker_that_died_is_waited_for_until_its_lease_ends(store: Store) -> None:
    ada = enrol(store, "Ada", 1)
    with store.session() as session:
        workers.start(session, "north", "north-1")
        workers.start(session, "south", "south-1")
    silence(store, "north", 4.5)  # half a second of its lease is left
    silence(store, "south", 60)  # was gone before
    receipt = erasure.erase_person(store, "main", ada.id)
    assert receipt.workers == {"north": Forgotten.LEASE_ENDED}
    assert receipt.complete


def test_a_worker_that_does_not_follow_is_named(store: Store) -> None:
    ada = enrol(store, "Ada", 1)
    with store.session() as session:
        workers.start(session, "north", "north-1")
        workers.heartbeat(session, "north", "north-1", {"main": 1, "tower": 99})
        workers.start(session, "south", "south-1")
        workers.heartbeat(session, "south", "south-1", {"main": 2})
    receipt = erase(store, ada)
    assert receipt.workers == {"north": Forgotten.UNCONFIRMED, "south": Forgotten.CONFIRMED}
    assert not receipt.complete


def test_an_event_decided_before_and_stored_after_names_nobody(store: Store) -> None:
    ada, camera = enrol(store, "Ada", 1), claimed_camera(store)
    event = granted(camera, 1, ada)
    erase(store, ada)
    with store.session() as session:
        assert events.add(session, event)
    with store.reading() as session:
        found = events.get(session, "main", event.id)
    assert isinstance(found.event, AccessEvent)
    assert (found.event.decision, found.event.person, found.has_snapshot) == (Decision.GRANTED, None, False)
    assert "Ada" not in everything(store)


def test_an_event_that_is_being_stored_is_found_by_the_erasure(store: Store) -> None:
    ada, camera = enrol(store, "Ada", 1), claimed_camera(store)
    receipts: list[Receipt] = []
    eraser = threading.Thread(target=lambda: receipts.append(erase(store, ada)))
    with store.session() as session:
        events.add(session, granted(camera, 1, ada))
        eraser.start()
        eraser.join(0.3)
        assert eraser.is_alive()  # it waits for us
    eraser.join()
    assert (receipts[0].removed.events, receipts[0].removed.snapshots) == (1, 1)
    assert "Ada" not in everything(store)


def test_an_event_waits_for_an_erasure_that_is_under_way(store: Store) -> None:
    ada, camera = enrol(store, "Ada", 1), claimed_camera(store)

    def add() -> None:
        with store.session() as session:
            events.add(session, granted(camera, 1, ada))

    writer = threading.Thread(target=add)
    with store.session() as session:
        person = people.locked(session, "main", ada.id)
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()  # it waits for us
        session.delete(person)
    writer.join()
    assert "Ada" not in everything(store)
    with store.reading() as session:
        assert len(events.listing(session, "main", 10).items) == 1


def leaves(folder: Path, marks: list[bytes]) -> list[bytes]:
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    return [mark for mark in marks if mark in content]


def test_the_bytes_are_gone_from_the_files_of_sqlite(sqlite_url: str) -> None:
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    with contextlib.closing(store_at(sqlite_url)) as store:
        camera = claimed_camera(store)
        silence(store, "watcher", 60)
        persons, marks = [], []
        for number in range(40):  # enough rows that pages are split, moved and merged
            name, image = f"Zerlina-{number:03}-Quast", f"IMAGE-{number:03}-{'x' * 50}".encode() * 300
            external = f"EXTERNAL-{number:03}"
            persons.append(enrol(store, name, number, image, external_id=external))
            marks.append([name.encode(), external.encode()])
            with store.session() as session:
                event = granted(camera, number + 1, persons[-1])
                events.add(session, event)
                photo = people.photos(session, "main", persons[-1].id)[0].id
            with store.reading() as session:
                sealed = [session.scalar(text("SELECT image FROM photos WHERE id = :id"), {"id": photo})]
                sealed += session.scalars(text("SELECT vector FROM templates WHERE photo_id = :id"), {"id": photo})
            marks[-1] += [photo.encode(), *(data[:40] for data in sealed)]
        for number in range(0, 40, 2):
            assert leaves(folder, marks[number]) == marks[number]  # so we look in the right place
            receipt = erase(store, persons[number])
            assert (receipt.remains, receipt.removed.snapshots) == (Remains.NONE, 1)
            assert leaves(folder, marks[number]) == []
        for number in range(1, 40, 2):
            assert leaves(folder, marks[number]) == marks[number]


def test_a_reader_may_keep_the_log_from_being_emptied_and_the_receipt_says_so(sqlite_url: str) -> None:
    with contextlib.closing(store_at(sqlite_url)) as store:
        ada, ben = enrol(store, "Ada", 1), enrol(store, "Ben", 2)
        with store.reading() as session:
            people.get(session, "main", ada.id)
            assert erase(store, ada).remains == Remains.IN_LOG
        assert erase(store, ben).remains == Remains.NONE
