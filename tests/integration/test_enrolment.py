"""Bulk enrolment with real nets on both databases: what comes of each photo, and that running again changes nothing."""

from collections.abc import Callable

import numpy as np
import pytest
from fixtures_enrolment import COLLINS, HOPPER, another
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.ahead import made_ahead
from app.enrolment.enroller import Enroller, Outcome, Result, Submission, Terms, settle
from app.photos import enrol, read_photo
from app.store import audit, buildings, galleries, people
from app.store.audit import Actor
from app.store.engine import Store
from app.store.records import BuildingFields, NewPhoto, PersonFields
from app.store.tables import PersonRow, Photo
from app.types import Array
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

Nets = tuple[FaceFinder, Embedder]
Run = Callable[..., list[Result]]
ACTOR = Actor("command", name="test")


@pytest.fixture
def run(store: Store, face_nets: Nets) -> Run:
    """Enrol photos given as (name, photo), or as whole submissions."""

    def go(*photos: tuple[str, bytes] | Submission, terms: Terms | None = None, building: str = "main") -> list[Result]:
        enroller = Enroller(building, *face_nets, ACTOR, terms or Terms())
        with store.reading() as session:
            enroller.begin(session)
        found = [photo if isinstance(photo, Submission) else submission(*photo) for photo in photos]
        return [
            settle(store, enroller, one, looked, lambda session, result: None)
            for one, looked in made_ahead(enroller.judge, found, threads=2)
        ]

    return go


def alike(vector: Array, similarity: float) -> Array:
    """A unit vector of this similarity."""
    across = np.roll(vector, 1) - float(np.roll(vector, 1) @ vector) * vector
    across /= np.linalg.norm(across)
    return np.asarray(similarity * vector + np.sqrt(1 - similarity**2) * across, np.float32)


def submission(name: str, photo: bytes, external_id: str | None = None, file: str = "photo.jpg") -> Submission:
    return Submission(PersonFields(name, external_id=external_id), file, lambda: photo)


def told(results: list[Result]) -> list[tuple[str, ...]]:
    return [(result.outcome, *result.reasons) for result in results]


def contents(store: Store) -> tuple[list[tuple[str, int]], int]:
    """Names with their number of photos, and how far the gallery is."""
    with store.reading() as session:
        listed = people.listing(session, "main", 200).items
        sequence = galleries.sequences(session)["main"]
    return [(record.fields.name, record.photos) for record in listed], sequence


def test_people_are_enrolled_once_however_often_it_runs(store: Store, run: Run, faces: dict[str, bytes]) -> None:
    photos = [(COLLINS, faces[COLLINS]), (COLLINS, another(faces[COLLINS], 5)), (HOPPER, faces[HOPPER])]
    first = run(*photos)
    assert told(first) == [("enrolled",), ("enrolled", "near_duplicate"), ("enrolled",)]
    assert first[1].similarity is not None and first[1].similarity > 0.95 and first[1].other is None
    assert first[0].person == first[1].person != first[2].person
    before = contents(store)
    assert before[0] == [(COLLINS, 2), (HOPPER, 1)]
    with store.reading() as session:
        kept = session.execute(select(Photo.origin, Photo.digest)).all()
        trail = [(record.action, record.target) for record in audit.listing(session, 50).items]
    assert {row.origin for row in kept} == {"import"} and all(len(row.digest or "") == 64 for row in kept)
    assert trail.count(("photo.added", first[0].person)) == 2 and trail.count(("person.created", first[0].person)) == 1
    again = run(*photos)
    assert told(again) == [("already_enrolled",)] * 3
    assert [result.person for result in again] == [result.person for result in first]
    assert contents(store) == before


def test_another_persons_file_or_face_is_a_duplicate(store: Store, run: Run, faces: dict[str, bytes]) -> None:
    (first,) = run((COLLINS, faces[COLLINS]))
    file, face = run(("Somebody Else", faces[COLLINS]), ("Her Twin", another(faces[COLLINS], 1)))
    assert told([file, face]) == [("duplicate", "duplicate_file"), ("duplicate", "duplicate_face")]
    assert file.other == face.other == first.person and file.person is face.person is None
    assert face.similarity is not None and face.similarity > 0.66
    assert contents(store)[0] == [(COLLINS, 1)]  # nobody is left behind without a photo
    accepted = run(("Her Twin", another(faces[COLLINS], 1)), terms=Terms(accept_duplicates=True))
    assert told(accepted) == [("enrolled", "looks_like")] and accepted[0].other == first.person
    assert contents(store)[0] == [(COLLINS, 1), ("Her Twin", 1)]


def test_a_duplicate_within_one_run_is_seen_too(run: Run, faces: dict[str, bytes]) -> None:
    found = run(("One", faces[COLLINS]), ("Two", another(faces[COLLINS], 2)), ("Three", faces[COLLINS]))
    assert told(found) == [("enrolled",), ("duplicate", "duplicate_face"), ("duplicate", "duplicate_file")]


def test_photos_of_one_person_must_look_alike(store: Store, run: Run, faces: dict[str, bytes]) -> None:
    found = run((COLLINS, faces[COLLINS]), (COLLINS, faces[HOPPER]))
    assert told(found) == [("enrolled",), ("unusable", "not_the_same_person")]
    assert found[1].similarity is not None and found[1].similarity < 0.37
    assert contents(store)[0] == [(COLLINS, 1)]


def test_what_is_wrong_with_a_photo_is_told_by_code(store: Store, run: Run, faces: dict[str, bytes]) -> None:
    def gone() -> bytes:
        raise FileNotFoundError

    found = run(
        ("Empty", b""),
        ("Text", b"no photo"),
        ("Cut off", faces[COLLINS][:-2000]),
        Submission(PersonFields("Gone"), "gone.jpg", gone),
        Submission(PersonFields(""), "x.jpg", lambda: faces[COLLINS], ("invalid_name",)),
        (COLLINS, faces[COLLINS]),
    )
    assert told(found) == [
        ("unusable", "empty-upload"),
        ("unusable", "unsupported-media-type"),
        ("unusable", "truncated-image"),
        ("failed", "unreadable_file"),
        ("failed", "invalid_name"),
        ("enrolled",),
    ]
    assert contents(store)[0] == [(COLLINS, 1)]


def test_what_nobody_foresaw_ends_one_photo_and_is_logged_without_names(
    store: Store, run: Run, faces: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bytes:
        raise RuntimeError(HOPPER)

    found = run(
        Submission(PersonFields(HOPPER), f"{HOPPER}.jpg", broken, position=7),
        Submission(PersonFields("Jos\udce9"), "Jos.jpg", lambda: faces[HOPPER], position=8),  # no database takes it
        (COLLINS, faces[COLLINS]),
    )
    assert told(found) == [("failed", "internal_error"), ("failed", "internal_error"), ("enrolled",)]
    assert contents(store)[0] == [(COLLINS, 1)]
    for told_of in ("photo 7", "RuntimeError", "in broken", "photo 8", "UnicodeEncodeError", "enrolments.py"):
        assert told_of in caplog.text
    assert HOPPER not in caplog.text and "Jos" not in caplog.text


def test_a_failed_photo_still_belongs_to_the_person_it_was_meant_for(store: Store, run: Run) -> None:
    with store.session() as session:
        person = people.create(session, "main", PersonFields("Ann")).id
    (result,) = run(Submission(PersonFields("Ann"), "../a.jpg", bytes, ("path_outside",)))
    assert told([result]) == [("failed", "path_outside")] and result.person == person


def test_a_person_is_known_again_by_external_id_or_by_the_only_one_of_a_name(
    store: Store, run: Run, faces: dict[str, bytes]
) -> None:
    with store.session() as session:
        people.create(session, "main", PersonFields("Ann", external_id="1"))
        people.create(session, "main", PersonFields("Ann", external_id="2"))
        only = people.create(session, "main", PersonFields(HOPPER, external_id="3")).id
    found = run(
        submission("Ann", faces[COLLINS]),
        submission("Ann", faces[COLLINS], external_id="2"),
        submission(HOPPER, faces[HOPPER]),
    )
    assert told(found) == [("failed", "ambiguous_name"), ("enrolled",), ("enrolled",)]
    with store.reading() as session:
        assert found[1].person is not None
        assert people.get(session, "main", found[1].person).fields.external_id == "2"
    assert found[2].person == only


def test_a_dry_run_says_the_same_and_changes_nothing(store: Store, run: Run, faces: dict[str, bytes]) -> None:
    run((HOPPER, faces[HOPPER]))
    before = contents(store)
    photos = (
        (COLLINS, faces[COLLINS]),
        (COLLINS, another(faces[COLLINS], 1)),
        (COLLINS, faces[COLLINS]),
        ("Her Twin", another(faces[COLLINS], 2)),
        (HOPPER, another(faces[HOPPER], 1)),
        (HOPPER, another(faces[HOPPER], 1)),
    )
    planned = run(*photos, terms=Terms(dry_run=True))
    assert contents(store) == before
    assert told(planned) == told(run(*photos))
    assert [Outcome(outcome) for outcome, *_ in told(planned)].count(Outcome.ENROLLED) == 3


def test_somebody_who_is_erased_meanwhile_is_told(
    store: Store, run: Run, faces: dict[str, bytes], face_nets: Nets
) -> None:
    """The photo was known when the run began, so the nets have not looked at it."""
    (first,) = run((COLLINS, faces[COLLINS]))
    enroller = Enroller("main", *face_nets, ACTOR, Terms())
    with store.reading() as session:
        enroller.begin(session)
    ((one, looked),) = made_ahead(enroller.judge, [submission(COLLINS, faces[COLLINS])], threads=1)
    with store.session() as session:
        session.delete(session.get_one(PersonRow, first.person))
    result = settle(store, enroller, one, looked, lambda session, result: None)
    assert told([result]) == [("failed", "changed_meanwhile")]


def test_what_the_caller_notes_and_the_photo_are_one_transaction(
    store: Store, face_nets: Nets, faces: dict[str, bytes]
) -> None:
    enroller = Enroller("main", *face_nets, ACTOR, Terms())
    ((one, looked),) = made_ahead(enroller.judge, [submission(COLLINS, faces[COLLINS])], threads=1)

    def refuse(session: Session, result: Result) -> None:
        raise RuntimeError(result.outcome)

    with pytest.raises(RuntimeError, match="enrolled"):
        settle(store, enroller, one, looked, refuse)
    assert contents(store) == ([], 0)


@pytest.mark.parametrize(("target", "reasons"), [(1e-3, ("looks_like",)), (1e-6, ())])
def test_who_looks_like_whom_depends_on_how_strict_the_building_is(
    store: Store, run: Run, face_nets: Nets, faces: dict[str, bytes], target: float, reasons: tuple[str, ...]
) -> None:
    embedder = face_nets[1]
    limits = [embedder.threshold(2, share) for share in (1e-3, 1e-6)]
    vector = enrol(read_photo(faces[COLLINS]), *face_nets).vector
    with store.session() as session:
        buildings.create(session, "tower", BuildingFields("Tower", target_fpir=target))
        person = people.create(session, "tower", PersonFields("Her sister")).id
        photo = NewPhoto(b"picture", "image/jpeg", 640, 480, 0.8)
        similar = alike(vector, sum(limits) / 2)
        people.add_photo(session, "tower", person, photo, embedder=embedder.card.id, vector=similar)
    (result,) = run((COLLINS, faces[COLLINS]), building="tower", terms=Terms(accept_duplicates=True))
    assert (result.outcome, result.reasons) == (Outcome.ENROLLED, reasons)
