"""Which embedder is live, and templates of others beside its own, on both databases."""

import threading

import pytest
from fixtures_redis import wait_until
from fixtures_store import enrol, unit_vector
from sqlalchemy import func, select

from app.errors import EmbedderError, SetupError
from app.store import audit, embedders, erasure, galleries, people, templates
from app.store.audit import SYSTEM
from app.store.embedders import KeptPhoto, LeftBehind
from app.store.engine import Store
from app.store.records import NewPhoto, PersonFields
from app.store.tables import LiveEmbedder, Template

PHOTO = NewPhoto(b"picture", "image/jpeg", 640, 480, 0.8)


def prepare(store: Store, embedder: str = "newer") -> list[bool]:
    """Give everybody a template of another embedder; whether each was made."""
    with store.session() as session:
        waiting = embedders.unfinished(session, embedder)
    return [put(store, photo, embedder) for photo in waiting]


def put(store: Store, photo: KeptPhoto, embedder: str = "newer") -> bool:
    with store.session() as session:
        return embedders.add_template(session, photo, embedder, unit_vector(9, 8))


def switch(store: Store, embedder: str, *, force: bool = False) -> list[LeftBehind]:
    with store.session() as session:
        return embedders.switch(session, embedder, SYSTEM, force=force)


def live(store: Store) -> str | None:
    with store.reading() as session:
        return templates.live(session)


def sequence(store: Store) -> int:
    with store.reading() as session:
        return galleries.sequences(session)["main"]


def numbers(store: Store) -> dict[str, int]:
    with store.reading() as session:
        return templates.counts(session)


def test_the_first_template_decides_and_others_are_refused(store: Store) -> None:
    assert live(store) is None
    ada = enrol(store, "Ada", 1)
    assert live(store) == "net"
    with pytest.raises(EmbedderError, match="embedder net is live, and this template is of newer"):
        enrol(store, "Ben", 2, embedder="newer")
    with store.reading() as session:
        assert [person.id for person in people.listing(session, "main", 9).items] == [ada.id]


def test_two_who_enrol_first_at_once_agree(store: Store) -> None:
    """Both saw that no embedder was live yet."""
    begun, refused = threading.Barrier(2), []

    def first(name: str, embedder: str) -> None:
        begun.wait()
        try:
            enrol(store, name, 1, embedder=embedder)
        except EmbedderError:
            refused.append(embedder)

    threads = [threading.Thread(target=first, args=(name, name)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1 and {live(store), *refused} == {"one", "two"}


def test_templates_beside_the_live_ones_change_no_gallery(store: Store) -> None:
    enrol(store, "Ada", 1)
    before = sequence(store)
    assert prepare(store) == [True] and prepare(store) == []
    assert (sequence(store), live(store)) == (before, "net")
    with store.reading() as session:
        assert galleries.changes_since(session, "main", 0, "net").vectors.shape == (1, 16)
        assert galleries.changes_since(session, "main", 0, "newer").vectors.shape == (1, 8)


def test_a_template_of_the_live_embedder_reaches_the_galleries(store: Store) -> None:
    enrol(store, "Ada", 1)
    switch(store, "newer", force=True)
    before = sequence(store)
    assert prepare(store) == [True]
    with store.reading() as session:
        assert galleries.changes_since(session, "main", before, "newer").vectors.shape == (1, 8)


def test_a_template_is_made_once_and_never_for_who_is_gone(store: Store) -> None:
    ada, ben = enrol(store, "Ada", 1), enrol(store, "Ben", 2)
    with store.session() as session:
        people.add_photo(session, "main", ben.id, PHOTO, embedder="net", vector=unit_vector(3))
        waiting = {photo.person: photo for photo in embedders.unfinished(session, "newer")}
    assert put(store, waiting[ada.id]) and not put(store, waiting[ada.id])
    with store.session() as session:
        people.delete_photo(session, "main", ben.id, waiting[ben.id].id)
    assert not put(store, waiting[ben.id])
    erasure.erase_person(store, "main", ada.id, patience=0)
    assert not put(store, waiting[ada.id])
    assert numbers(store) == {"net": 1}


def test_a_switch_that_leaves_people_behind_needs_force(store: Store) -> None:
    enrol(store, "Ada", 1)
    prepare(store)
    ben = enrol(store, "Ben", 2)
    left = [LeftBehind("main", ben.id, "Ben")]
    assert switch(store, "newer") == left and live(store) == "net"
    assert switch(store, "newer", force=True) == left and live(store) == "newer"
    with store.reading() as session:
        assert embedders.unrecognised(session, "newer") == 1
        (entry,) = audit.listing(session, 9, action="embedder.switched").items
    assert (entry.target, entry.detail) == ("newer", {"from": "net", "left_behind": 1})
    assert prepare(store) == [True] and switch(store, "newer") == []


def test_there_is_a_way_back(store: Store) -> None:
    enrol(store, "Ada", 1)
    prepare(store)
    assert switch(store, "newer") == [] and live(store) == "newer"
    assert switch(store, "net") == [] and live(store) == "net"
    assert numbers(store) == {"net": 1, "newer": 1}
    enrol(store, "Ben", 2)


def test_without_templates_there_is_nothing_to_switch(store: Store) -> None:
    with pytest.raises(SetupError, match="no templates yet"):
        switch(store, "newer", force=True)


def test_who_is_being_enrolled_during_a_switch_is_not_lost(store: Store) -> None:
    """The switch waits for the enrolment, and then sees whom it would leave behind."""
    enrol(store, "Ada", 1)
    prepare(store)
    found: list[list[LeftBehind]] = []
    switching = threading.Thread(target=lambda: found.append(switch(store, "newer")))
    with store.session() as session:
        ben = people.create(session, "main", PersonFields("Ben"))
        people.add_photo(session, "main", ben.id, PHOTO, embedder="net", vector=unit_vector(2))
        switching.start()
        switching.join(timeout=0.5)
        assert switching.is_alive()
    switching.join(timeout=10)
    assert found == [[LeftBehind("main", ben.id, "Ben")]] and live(store) == "net"


def test_who_enrols_with_the_former_embedder_after_a_switch_is_told(store: Store) -> None:
    """He looked at the photo before the switch, and stores it after it."""
    enrol(store, "Ada", 1)
    prepare(store)
    refused: list[EmbedderError] = []

    def late() -> None:
        try:
            enrol(store, "Ben", 2)
        except EmbedderError as error:
            refused.append(error)

    with store.session() as session:
        embedders.switch(session, "newer", SYSTEM)
        thread = threading.Thread(target=late)
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()
    wait_until(lambda: bool(refused))
    assert numbers(store) == {"net": 1, "newer": 1}


def test_the_templates_of_a_former_embedder_can_be_deleted(store: Store) -> None:
    enrol(store, "Ada", 1)
    prepare(store)
    with store.session() as session:
        with pytest.raises(SetupError, match="net is live"):
            embedders.forget(session, "net", SYSTEM)
        assert embedders.forget(session, "newer", SYSTEM) == 1
    assert numbers(store) == {"net": 1}


def test_an_erasure_takes_the_templates_of_all_embedders(store: Store) -> None:
    ada, ben = enrol(store, "Ada", 1), enrol(store, "Ben", 2)
    prepare(store)
    assert erasure.erase_person(store, "main", ada.id, patience=0).removed.templates == 2
    with store.reading() as session:
        photo = people.photos(session, "main", ben.id)[0].id
    assert erasure.erase_photo(store, "main", ben.id, photo, patience=0).removed.templates == 2
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(Template)) == 0
        assert session.scalar(select(func.count()).select_from(LiveEmbedder)) == 1
