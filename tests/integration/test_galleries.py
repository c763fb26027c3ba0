"""Galleries in step with the store: after a restore, and after a look at the store that broke off."""

import pytest
from fixtures_store import enrol
from sqlalchemy import delete, select, update

from app.errors import StoreUnavailableError
from app.store import buildings, following, galleries
from app.store.engine import Store
from app.store.records import BuildingFields
from app.store.tables import Building, GalleryChange
from workers.galleries import Galleries


def follow(store: Store, followed: Galleries) -> bool:
    with store.reading() as session:
        return followed.follow(session, following.marks(session, "nobody").buildings)


def test_a_sequence_without_a_change_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    enrol(store, "Ada", 1)
    with store.session() as session:
        session.execute(delete(GalleryChange))  # a restored building's sequence is ahead of its last change
    reads: list[str] = []
    usual = galleries.changes_since

    def counted(session, building, *more):  # type: ignore[no-untyped-def]
        reads.append(building)
        return usual(session, building, *more)

    monkeypatch.setattr(galleries, "changes_since", counted)
    followed = Galleries(None)
    assert [follow(store, followed) for _ in range(3)] == [True, False, False]
    assert reads == ["main"]


def test_what_was_applied_before_a_failure_is_told_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was erased must be dropped from memory although the next building could not be read."""
    with store.session() as session:
        buildings.create(session, "annex", BuildingFields("Annex"))
    followed = Galleries(None)
    follow(store, followed)
    with store.session() as session:
        buildings.raise_sequence(session, "main", "per_1")
        buildings.raise_sequence(session, "annex", "per_2")
    usual, seen = galleries.changes_since, []

    def failing(session, building, *more):  # type: ignore[no-untyped-def]
        seen.append(building)
        if len(seen) == 2:
            raise StoreUnavailableError("gone")
        return usual(session, building, *more)

    monkeypatch.setattr(galleries, "changes_since", failing)
    with pytest.raises(StoreUnavailableError):
        follow(store, followed)
    with store.session() as session:  # nothing is left to do for the second one
        session.execute(update(Building).where(Building.id == seen[1]).values(gallery_sequence=0))
    assert follow(store, followed)
    assert not follow(store, followed)


def test_of_a_person_one_change_is_kept(store: Store) -> None:
    ada, ben = enrol(store, "Ada", 1), enrol(store, "Ben", 2)
    followed = Galleries(None)
    follow(store, followed)
    with store.session() as session:
        for _ in range(20):
            buildings.raise_sequence(session, "main", ada.id)
        last = buildings.get(session, "main").gallery_sequence
        kept = session.execute(select(GalleryChange.sequence, GalleryChange.person_id)).all()
    assert sorted(kept) == [(2, ben.id), (last, ada.id)]
    with store.reading() as session:
        for behind in (0, 1, 5, last - 1):
            changes = galleries.changes_since(session, "main", behind, "net")
            assert (changes.sequence, ada.id in changes.changed) == (last, True)
    assert follow(store, followed) and followed.sequences() == {"main": last}
