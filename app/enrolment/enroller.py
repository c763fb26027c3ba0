"""Bulk enrolment: hundreds of photos, each judged, compared with everybody enrolled, and told what came of it.

Judging costs a tenth of a second and runs in threads; what follows from it happens in order, one short transaction a
photo. There is no state besides the store: a photo is known again by the SHA-256 of its file, a person by the external
id or else by the exact name, so a run that was cut off is simply run again.
"""

import hashlib
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy.orm import Session

from app.enrolment.lookalikes import Lookalikes
from app.enrolment.notices import OF_OWN_PHOTOS, Limits, Notice, notices
from app.errors import CardeaError, ConflictError, NotFoundError, PhotoError
from app.photos import Enrolment, Photo, enrol, read_photo
from app.store import audit, buildings, enrolments, people
from app.store.audit import Actor
from app.store.engine import Store
from app.store.records import NewPhoto, PersonFields
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

# Nobody is looked for by these: the database may not even take what stands there.
_NAMELESS = frozenset({"invalid_name", "invalid_external_id"})

_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What came of a photo. Stable: programs match on these codes."""

    ENROLLED = "enrolled"
    ALREADY_ENROLLED = "already_enrolled"  # the same file of the same person
    DUPLICATE = "duplicate"  # the file or the face is another person's
    UNUSABLE = "unusable"  # the photo cannot be used, or does not show this person
    FAILED = "failed"  # it could not be tried


FINE = frozenset({Outcome.ENROLLED, Outcome.ALREADY_ENROLLED})


@dataclass(frozen=True, slots=True)
class Submission:
    """One photo of one person. Several photos of a person are several of these, one after the other."""

    fields: PersonFields
    file: str  # as people know it: a path in the folder, table or archive
    read: Callable[[], bytes] = field(repr=False)  # may raise OSError
    trouble: tuple[str, ...] = ()  # reason codes why it cannot be tried
    position: int = 0  # in its source


@dataclass(frozen=True, slots=True)
class Judged:
    """A photo after the nets have looked at it."""

    digest: str = ""  # SHA-256 hex of the file
    photo: Photo | None = None  # None: refused, or known by its digest
    face: Enrolment | None = None
    refused: tuple[str, ...] = ()
    outcome: Outcome = Outcome.UNUSABLE  # what a refusal means


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a photo."""

    file: str
    name: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()  # problem codes of photos, quality codes, and those of `Enroller`
    person: str | None = None  # id of whom the photo was meant for, when there is such a person
    other: str | None = None  # id of whom it looks like or belongs to
    similarity: float | None = None  # to `other`, or to the person's own photos


@dataclass(frozen=True, slots=True)
class Terms:
    """How strict enrolment is."""

    accept_duplicates: bool = False  # twins: enrol a face that looks like somebody else's
    dry_run: bool = False  # say what would come of it, change nothing


class Enroller:
    """Enrols into one building. Any thread may judge, one settles.

    Reasons besides those of photos: ``duplicate_file``, ``ambiguous_name``, ``unreadable_file``, ``changed_meanwhile``,
    ``internal_error`` and the codes of `Notice`. Of these ``duplicate_face`` and ``not_the_same_person`` are refused,
    the others stand as warnings beside ``enrolled``.
    """

    def __init__(self, building: str, finder: FaceFinder, embedder: Embedder, actor: Actor, terms: Terms) -> None:
        self._building = building
        self._finder = finder
        self._embedder = embedder
        self._actor = actor
        self._terms = terms
        self._enrolled: frozenset[str] = frozenset()  # digests when the run began: the nets need not look again
        self._known = Lookalikes(building, embedder.card.id, embedder.dimension)
        self._planned: dict[str, str] = {}  # of a dry run: digest -> person
        self._target = 1e-3  # of the building's doors, as it is when a photo is settled

    def begin(self, session: Session) -> None:
        """Learn who is enrolled."""
        self._enrolled = enrolments.digests(session, self._building)
        self._known.follow(session)

    def judge(self, submission: Submission) -> Judged:
        """Read a photo and let the nets look at it."""
        try:
            return self._judge(submission)
        except Exception as error:  # whatever a file does to a library, the others go on
            _log_unforeseen(submission, error)
            return Judged(refused=("internal_error",), outcome=Outcome.FAILED)

    def _judge(self, submission: Submission) -> Judged:
        if submission.trouble:
            return Judged(refused=submission.trouble, outcome=Outcome.FAILED)
        try:
            data = submission.read()
        except OSError:
            return Judged(refused=("unreadable_file",), outcome=Outcome.FAILED)
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._enrolled:
            return Judged(digest)
        try:
            photo = read_photo(data)
            return Judged(digest, photo, enrol(photo, self._finder, self._embedder))
        except PhotoError as error:
            return Judged(digest, refused=(error.code, *error.reasons))

    def settle(self, session: Session, submission: Submission, judged: Judged) -> Result:
        """Decide about a judged photo and store it with its person, all in the caller's transaction.

        Raises:
            NotFoundError: there is no such building.
            ConflictError: somebody else changed the same person at this moment.
            EmbedderError: another embedder is live since the run began.
        """
        fields = submission.fields
        about = Result(submission.file, fields.name, Outcome.ENROLLED)
        if _NAMELESS & set(judged.refused):
            return replace(about, outcome=Outcome.FAILED, reasons=judged.refused)
        persons = self._persons(session, fields)
        person = persons[0] if len(persons) == 1 else None
        about = replace(about, person=person)
        hindered = judged.refused if judged.outcome == Outcome.FAILED else ()
        if len(persons) > 1 and not hindered:
            hindered = ("ambiguous_name",)
        if hindered:
            return replace(about, outcome=Outcome.FAILED, reasons=hindered)
        result = self._decide(session, judged, about)
        if result.outcome != Outcome.ENROLLED:
            return result
        if self._terms.dry_run:
            self._pretend(person or _plan(fields), judged)
            return result
        return self._store(session, fields, judged, result)

    def _persons(self, session: Session, fields: PersonFields) -> list[str]:
        """Return who may be meant, one of them locked, and then the building."""
        found = enrolments.find(session, self._building, fields)
        if len(found) == 1:
            people.locked(session, self._building, found[0])
        enrolments.lock(session, self._building)
        self._target = buildings.get(session, self._building).fields.target_fpir
        found = found or enrolments.find(session, self._building, fields)
        self._known.follow(session)
        planned = _plan(fields)
        return found or ([planned] if planned in self._planned.values() else [])

    def _decide(self, session: Session, judged: Judged, about: Result) -> Result:
        owner = self._planned.get(judged.digest) or enrolments.owner(session, self._building, judged.digest)
        if owner is not None:
            if owner == about.person:
                return replace(about, outcome=Outcome.ALREADY_ENROLLED)
            return replace(about, outcome=Outcome.DUPLICATE, reasons=("duplicate_file",), other=owner)
        if judged.refused:
            return replace(about, outcome=Outcome.UNUSABLE, reasons=judged.refused)
        if judged.face is None:
            return replace(about, outcome=Outcome.FAILED, reasons=("changed_meanwhile",))
        return self._compare(judged.face, about)

    def _compare(self, face: Enrolment, about: Result) -> Result:
        """Decide by the face: is it somebody else's, is it this person's?"""
        likeness = self._known.compare(face.vector, about.person)
        limits = Limits.of(self._embedder, self._known.owners, self._target)
        found = notices(face.quality.score, likeness, limits)
        if Notice.DUPLICATE_FACE in found or Notice.LOOKS_LIKE in found:
            about = replace(about, other=likeness.other_person, similarity=round(likeness.other, 4))
        elif likeness.own is not None and OF_OWN_PHOTOS & set(found):
            about = replace(about, similarity=round(likeness.own, 4))
        if Notice.DUPLICATE_FACE in found:
            if not self._terms.accept_duplicates:
                return replace(about, outcome=Outcome.DUPLICATE, reasons=(Notice.DUPLICATE_FACE,))
            found = (Notice.LOOKS_LIKE, *found[1:])
        if Notice.NOT_THE_SAME_PERSON in found:
            return replace(about, outcome=Outcome.UNUSABLE, reasons=(Notice.NOT_THE_SAME_PERSON,))
        return replace(about, reasons=found)

    def _pretend(self, person: str, judged: Judged) -> None:
        assert judged.face is not None
        self._planned[judged.digest] = person
        self._known.add(person, judged.face.vector)

    def _store(self, session: Session, fields: PersonFields, judged: Judged, result: Result) -> Result:
        assert judged.photo is not None and judged.face is not None
        person = result.person
        if person is None:
            person = people.create(session, self._building, fields).id
            audit.add(session, self._actor, "person.created", building=self._building, target=person)
        photo = judged.photo
        new = NewPhoto(
            photo.encoded,
            photo.media_type,
            photo.width,
            photo.height,
            judged.face.quality.score,
            judged.digest,
            origin="import",
        )
        stored = people.add_photo(
            session, self._building, person, new, embedder=judged.face.embedder, vector=judged.face.vector
        )
        told = {"photo": stored.id, "origin": stored.origin}
        audit.add(session, self._actor, "photo.added", building=self._building, target=person, detail=told)
        return replace(result, person=person)


def settle(
    store: Store, enroller: Enroller, submission: Submission, looked: Judged, note: Callable[[Session, Result], None]
) -> Result:
    """Settle a judged photo in a transaction of its own; what nobody foresaw ends this photo alone.

    Args:
        note: told of the result in the same transaction; what it raises undoes all.
    """
    try:
        with store.session() as session:
            result = _settled(store, session, enroller, submission, looked)
            note(session, result)
        return result
    except (ConflictError, NotFoundError):  # somebody renamed or erased the person at this moment
        reason = "changed_meanwhile"
    except _UnforeseenError:
        reason = "internal_error"
    result = Result(submission.file, submission.fields.name, Outcome.FAILED, (reason,))
    with store.session() as session:
        note(session, result)
    return result


class _UnforeseenError(Exception):
    """A photo could not be settled for a reason that is in the log."""


def _settled(store: Store, session: Session, enroller: Enroller, submission: Submission, looked: Judged) -> Result:
    try:
        with store.errors():
            result = enroller.settle(session, submission, looked)
            session.flush()  # what the database refuses shows here, before the caller notes anything
        return result
    except CardeaError:
        raise
    except Exception as error:
        _log_unforeseen(submission, error)
        raise _UnforeseenError from None


def _log_unforeseen(submission: Submission, error: Exception) -> None:
    """Say where it happened. Neither file nor the error's own text is logged, for they may name people."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("photo %d of an enrolment: unforeseen %s\n%s", submission.position, type(error).__name__, where)


def _plan(fields: PersonFields) -> str:
    """Return what stands for a person whom a dry run would add."""
    return f"new {fields.external_id or fields.name}"
