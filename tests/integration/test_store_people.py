"""Persons, photos and what galleries read of them."""

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from fixtures_store import enrol, unit_vector
from sqlalchemy import text

from app.errors import ConflictError, CursorError, DuplicatePhotoError, NotFoundError, RevisionError
from app.gallery import Gallery
from app.store import buildings, embedders, galleries, people
from app.store.engine import Store
from app.store.records import BuildingFields, NewPhoto, PersonFields, PersonFilter, PersonRecord
from app.types import GalleryChanges, Person

PHOTO = NewPhoto(b"\xff\xd8 picture \x00\xff", "image/jpeg", 640, 480, 0.8)


def changes(store: Store, sequence: int, embedder: str = "net") -> GalleryChanges:
    with store.reading() as session:
        return galleries.changes_since(session, "main", sequence, embedder)


def names(store: Store, search: str = "", size: int = 100) -> list[str]:
    found: list[PersonRecord] = []
    token = None
    with store.reading() as session:
        while True:
            page = people.listing(session, "main", size, token, PersonFilter(search))
            assert len(page.items) <= size
            found += page.items
            token = page.next_token
            if token is None:
                return [person.fields.name for person in found]


def test_a_person_comes_back_as_stored(store: Store) -> None:
    start = datetime(2026, 1, 1, 8, 30, 0, 125000, tzinfo=timezone(timedelta(hours=2)))
    fields = PersonFields("Élodie", "E-17", frozenset({"staff", "night"}), start, start + timedelta(days=1))
    with store.session() as session:
        made = people.create(session, "main", fields)
    with store.reading() as session:
        found = people.get(session, "main", made.id)
    assert found == made
    assert found.fields == fields
    assert found.fields.valid_from is not None and found.fields.valid_from.tzinfo == UTC
    assert (found.building, found.photos, found.revision) == ("main", 0, 1)
    assert abs(datetime.now(UTC) - found.created_at) < timedelta(minutes=1)


def test_a_time_without_zone_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="no time zone"), store.session() as session:
        people.create(session, "main", PersonFields("Ada", valid_from=datetime(2026, 1, 1)))


def test_external_ids_are_unique_in_a_building(store: Store) -> None:
    with store.session() as session:
        buildings.create(session, "tower", BuildingFields("Tower"))
        ada = people.create(session, "main", PersonFields("Ada", "1"))
        people.create(session, "tower", PersonFields("Ada", "1"))
        people.create(session, "main", PersonFields("Ben"))
        people.create(session, "main", PersonFields("Cleo"))
        dora = people.create(session, "main", PersonFields("Dora", "2"))
    with pytest.raises(ConflictError, match="'1'"), store.session() as session:
        people.create(session, "main", PersonFields("Eve", "1"))
    with pytest.raises(ConflictError, match="'1'") as caught, store.session() as session:
        people.update(session, "main", dora.id, replace(dora.fields, external_id="1"), 1)
    assert not isinstance(caught.value, RevisionError)
    with store.reading() as session:
        assert people.get(session, "main", ada.id).fields.name == "Ada"


def test_nothing_is_found_in_another_building(store: Store) -> None:
    person = enrol(store, "Ada", 1)
    with store.session() as session:
        buildings.create(session, "tower", BuildingFields("Tower"))
        photo = people.photos(session, "main", person.id)[0].id
        for ask in (
            lambda: people.get(session, "tower", person.id),
            lambda: people.update(session, "tower", person.id, person.fields, 1),
            lambda: people.photos(session, "tower", person.id),
            lambda: people.photo(session, "tower", person.id, photo),
            lambda: people.photo_image(session, "tower", person.id, photo),
            lambda: people.delete_photo(session, "tower", person.id, photo),
            lambda: people.add_photo(session, "tower", person.id, PHOTO, embedder="net", vector=unit_vector(1)),
            lambda: people.create(session, "nowhere", PersonFields("Ben")),
            lambda: people.listing(session, "nowhere", 10),
        ):
            with pytest.raises(NotFoundError):
                ask()
        assert people.listing(session, "tower", 10).items == []
        assert galleries.changes_since(session, "tower", 0, "net").changed == frozenset()
        assert people.photo_image(session, "main", person.id, photo) == b"picture"


def test_listing_goes_by_name_and_loses_nobody(store: Store) -> None:
    with store.session() as session:
        for name in ("Cleo", "Ada", "Ben", "Ada", "Dora"):
            people.create(session, "main", PersonFields(name))
    for size in (1, 2, 3, 5, 100):
        assert names(store, size=size) == ["Ada", "Ada", "Ben", "Cleo", "Dora"]


def test_the_longest_names_can_be_paged(store: Store) -> None:
    long = ["😀" * 200, "😀" * 199 + "😁", "語" * 200]
    with store.session() as session:
        for name in long:
            people.create(session, "main", PersonFields(name))
    assert sorted(names(store, size=1)) == sorted(long)


def test_search_is_by_the_beginning_of_name_or_external_id(store: Store) -> None:
    with store.session() as session:
        for name, external in (("Ada", None), ("ÉLODIE", None), ("100% Ben", "x_1"), ("Cleo", "ad-7"), ("Mada", "xy1")):
            people.create(session, "main", PersonFields(name, external))
    assert names(store, "aD") == ["Ada", "Cleo"]
    assert names(store, "élo") == ["ÉLODIE"]
    assert names(store, "100%") == ["100% Ben"]
    assert names(store, "x_") == ["100% Ben"]
    assert names(store, "%") == []


NUL, HALF_A_SIGN = '["a", "\\u0000"]', '["a", "\\ud800"]'
FOREIGN = ("null", "none", '["a"]', "[1, 2]", NUL, HALF_A_SIGN, "[" * 5000, '["a", "b"]x')
TOKENS = [base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in FOREIGN]


@pytest.mark.parametrize("token", ["", "x", "é", "bm9uZQ===", *TOKENS], ids=range(12))
def test_tokens_from_elsewhere_are_refused(store: Store, token: str) -> None:
    with store.reading() as session, pytest.raises(CursorError):
        people.listing(session, "main", 10, token)


def test_updates_need_the_present_revision(store: Store) -> None:
    person = enrol(store, "Ada", 1)
    with store.session() as session:
        changed = people.update(session, "main", person.id, replace(person.fields, name="Ada B."), 1)
    assert (changed.fields.name, changed.revision) == ("Ada B.", 2)
    assert changed.updated_at > person.updated_at
    with pytest.raises(RevisionError), store.session() as session:
        people.update(session, "main", person.id, replace(person.fields, name="Ada C."), 1)
    with store.reading() as session:
        assert people.get(session, "main", person.id) == changed


def test_an_update_that_changes_nothing_wakes_nobody(store: Store) -> None:
    person = enrol(store, "Ada", 1)
    with store.session() as session:
        assert people.update(session, "main", person.id, person.fields, 1) == person
        assert galleries.sequences(session) == {"main": 1}


def test_photos_come_back_as_uploaded(store: Store) -> None:
    person = enrol(store, "Ada", 1)
    with store.session() as session:
        added = people.add_photo(session, "main", person.id, PHOTO, embedder="net", vector=unit_vector(2))
    with store.reading() as session:
        first, second = people.photos(session, "main", person.id)
        assert second == added == people.photo(session, "main", person.id, added.id)
        assert (second.person, second.media_type, second.width, second.height, second.quality) == (
            person.id,
            "image/jpeg",
            640,
            480,
            0.8,
        )
        assert people.photo_image(session, "main", person.id, added.id) == PHOTO.image
        assert people.get(session, "main", person.id).photos == 2
        with pytest.raises(NotFoundError):
            people.photo(session, "main", person.id, "pho_none")
    assert first.id != second.id


@pytest.mark.parametrize("vector", [np.ones(16, np.float32), np.full(16, np.nan, np.float32), np.eye(4, dtype="f4")])
def test_only_unit_vectors_become_templates(store: Store, vector: np.ndarray) -> None:
    person = enrol(store, "Ada", 1)
    with pytest.raises(ValueError, match="unit length"), store.session() as session:
        people.add_photo(session, "main", person.id, PHOTO, embedder="net", vector=vector)


def test_a_gallery_follows_every_change(store: Store) -> None:
    gallery = Gallery(16)
    ada, ben = enrol(store, "Ada", 1), enrol(store, "Ben", 2)
    gallery.apply(changes(store, gallery.sequence))
    assert (gallery.sequence, gallery.templates) == (2, 2)
    match = gallery.search(unit_vector(2)[None])[0]
    assert match.person == Person(ben.id, "") and match.similarity == pytest.approx(1)

    with store.session() as session:  # rights
        people.update(session, "main", ben.id, replace(ben.fields, groups=frozenset({"staff"})), 1)
    later = changes(store, gallery.sequence)
    assert (later.sequence, later.changed, later.owners) == (3, {ben.id}, (ben.id,))
    gallery.apply(later)
    assert gallery.person(ben.id) == Person(ben.id, "", frozenset({"staff"}))

    with store.session() as session:  # a second photo
        added = people.add_photo(session, "main", ada.id, PHOTO, embedder="net", vector=unit_vector(3))
    gallery.apply(changes(store, gallery.sequence))
    assert gallery.search(unit_vector(3)[None])[0].person == Person(ada.id, "")

    with store.session() as session:  # and without it
        assert people.delete_photo(session, "main", ada.id, added.id) == 5
    gallery.apply(changes(store, gallery.sequence))
    assert gallery.sequence == 5
    assert gallery.search(unit_vector(3)[None])[0].similarity < 0.99

    nothing = changes(store, 5)
    assert (nothing.sequence, nothing.changed, nothing.owners, len(nothing.vectors)) == (5, frozenset(), (), 0)
    fresh = Gallery(16)
    fresh.apply(changes(store, 0))
    assert (fresh.sequence, fresh.templates) == (5, 2)


def test_templates_are_kept_bit_by_bit(store: Store) -> None:
    enrol(store, "Ada", 1)
    vectors = changes(store, 0).vectors
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, unit_vector(1)[None])


def test_templates_of_two_embedders_never_mix(store: Store) -> None:
    person = enrol(store, "Ada", 1)
    with store.session() as session:
        (photo,) = embedders.unfinished(session, "other")
        assert embedders.add_template(session, photo, "other", unit_vector(2, dimension=8))
    assert changes(store, 0).vectors.shape == (1, 16)
    assert changes(store, 0, "other").vectors.shape == (1, 8)
    unknown = changes(store, 0, "third")
    assert (unknown.sequence, unknown.changed, unknown.persons, unknown.owners) == (1, {person.id}, {}, ())


def test_a_person_without_photo_is_in_no_gallery(store: Store) -> None:
    with store.session() as session:
        person = people.create(session, "main", PersonFields("Ada"))
        people.update(session, "main", person.id, replace(person.fields, name="Ada B."), 1)
    found = changes(store, 0)
    assert (found.sequence, found.changed, found.persons) == (1, {person.id}, {})


def test_each_building_counts_for_itself(store: Store) -> None:
    enrol(store, "Ada", 1)
    with store.session() as session:
        buildings.create(session, "tower", BuildingFields("Tower"))
        assert galleries.sequences(session) == {"main": 1, "tower": 0}
        assert buildings.get(session, "main").gallery_sequence == 1
        with pytest.raises(ConflictError):
            buildings.create(session, "tower", BuildingFields("Again"))
        with pytest.raises(NotFoundError):
            buildings.get(session, "nowhere")
        first = buildings.listing(session, 1)
        assert [one.id for one in first.items] == ["main"]
        second = buildings.listing(session, 1, first.next_token)
        assert [one.id for one in second.items] == ["tower"] and second.next_token is None


def test_deleting_a_photo_deletes_its_templates(store: Store) -> None:
    person = enrol(store, "Ada", 1)
    with store.session() as session:
        photo = people.photos(session, "main", person.id)[0].id
        people.delete_photo(session, "main", person.id, photo)
        assert session.scalar(text("SELECT count(*) FROM templates")) == 0
        with pytest.raises(NotFoundError):
            people.delete_photo(session, "main", person.id, photo)


def test_of_two_equal_photos_at_once_one_is_stored(store: Store) -> None:
    with store.session() as session:
        persons = [people.create(session, "main", PersonFields(name)).id for name in ("Ada", "Ben")]
    photo, begin = replace(PHOTO, digest="d" * 64), Barrier(2)

    def add(person: str) -> str:
        try:
            with store.session() as session:
                people.get(session, "main", person)  # the database has handed out its view of things
                if not store.sqlite:  # which lets one writer in at a time
                    begin.wait(timeout=10)
                people.add_photo(session, "main", person, photo, embedder="net", vector=unit_vector(1))
                return "stored"
        except DuplicatePhotoError as error:
            return error.person

    with ThreadPoolExecutor(2) as threads:
        found = dict(zip(persons, threads.map(add, persons), strict=True))
    (winner,) = (person for person, outcome in found.items() if outcome == "stored")
    assert set(found.values()) == {"stored", winner}


def test_persons_can_be_filtered(store: Store) -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    enrol(store, "Ada", 1, groups=frozenset({"staff", 'the "night" \\ shift'}), valid_until=noon)
    enrol(store, "Ben", 2, groups=frozenset({"Staff", "staff; night"}), erase_on=noon + timedelta(days=1))
    with store.session() as session:
        people.create(session, "main", PersonFields("Cleo", groups=frozenset({"staff"})))

    def found(**wanted: Any) -> list[str]:
        with store.reading() as session:
            page = people.listing(session, "main", 10, only=PersonFilter(**wanted))
            return [person.fields.name for person in page.items]

    assert found(group="staff") == ["Ada", "Cleo"] and found(group="Staff") == ["Ben"]
    assert found(group='the "night" \\ shift') == ["Ada"] and found(group="night") == []
    assert found(without_photos=True) == ["Cleo"] and found(group="staff", search="a") == ["Ada"]
    assert found(ending_before=noon) == [] and found(ending_before=noon + timedelta(seconds=1)) == ["Ada"]
    assert found(ending_before=noon + timedelta(days=2)) == ["Ada", "Ben"]
