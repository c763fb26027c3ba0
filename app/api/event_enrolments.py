"""Enrolment from an event: whoever stood at the door is known from now on, by a picture kept of the visit."""

from dataclasses import replace

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Acting, needs_here
from app.api.notices import NoticeRead, Notices, noticed
from app.api.persons import PersonCreate, PersonRead
from app.api.photos import NO_USABLE_FACE, PhotoRead, new_photo
from app.api.problems import ProblemError, documented, invalid
from app.api.schemas import BuildingId, Id, Reference, Strictly
from app.api.services import Services, Serving
from app.photos import Enrolment, cut_face, enrol, read_photo
from app.store import audit, events, people
from app.store.records import NewPhoto, Scope
from app.types import AccessEvent

router = APIRouter(prefix="/buildings/{building}/events/{event}/enrolments", tags=["events"])
Box = tuple[float, float, float, float]


class EventEnrolmentCreate(Strictly):
    """Who stood there: somebody known, or somebody new. Give one of both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"person": "per_1f0c6f4b5a0d4e2b9c7a"},
                {"new_person": {"name": "Eileen Collins", "groups": ["residents"]}},
            ]
        }
    )

    person: Reference | None = Field(None, description="id of a person of this building, who gets one more photo")
    new_person: PersonCreate | None = Field(None, description="somebody to add")


class EventEnrolmentRead(BaseModel):
    """Who is recognised from now on, and by which photo."""

    person: PersonRead
    photo: PhotoRead
    notices: Notices


@router.post(
    "",
    status_code=201,
    dependencies=[Depends(needs_here(Scope.OPERATOR))],
    responses=documented(
        "not-found",
        "conflict",
        "duplicate-photo",
        "no-event-picture",
        "too-busy",
        "image-too-small",
        "other-embedder",
        *NO_USABLE_FACE,
    ),
)
def enrol_from_event(
    services: Serving, building: BuildingId, event: Id, body: EventEnrolmentCreate, actor: Acting, response: Response
) -> EventEnrolmentRead:
    """Make an enrolment photo of the face of a visit, judged like an upload.

    The close picture of the face is taken, or without one the face of the event's snapshot.
    """
    if (body.person is None) is (body.new_person is None):
        raise invalid("#/person", "give either person or new_person")
    fields = None if body.new_person is None else body.new_person.fields()
    with services.turnstile.turn():
        new, face, notices = _photo(services, building, event, body.person)
    with services.store.session() as session:
        if fields is None:
            person = people.get(session, building, str(body.person)).id
        else:
            person = people.create(session, building, fields).id
            audit.add(session, actor, "person.created", building=building, target=person)
        photo = people.add_photo(session, building, person, new, embedder=face.embedder, vector=face.vector)
        detail = {"photo": photo.id, "origin": photo.origin, "event": event}
        audit.add(session, actor, "photo.added", building=building, target=person, detail=detail)
        record = people.get(session, building, person)
    response.headers["Location"] = f"/v1/buildings/{building}/persons/{person}/photos/{photo.id}"
    return EventEnrolmentRead(person=PersonRead.of(record), photo=PhotoRead.of(photo), notices=notices)


def _photo(
    services: Services, building: str, event: str, person: str | None
) -> tuple[NewPhoto, Enrolment, list[NoticeRead]]:
    """Return the photo of an event's face, the face, and what is remarkable about it."""
    data, box = _picture(services, building, event)
    if box is not None:
        data = cut_face(data, box, services.finder)
    accepted, embedder = read_photo(data), services.embedder()
    enrolment = enrol(accepted, services.finder, embedder)
    notices = noticed(services, building, person, enrolment, embedder)
    new = replace(new_photo(data, accepted, enrolment, "event"), event=event)
    return new, enrolment, notices


def _picture(services: Services, building: str, event: str) -> tuple[bytes, Box | None]:
    """Return an event's close picture, or its snapshot and where the face is on it."""
    with services.store.reading() as session:
        record = events.get(session, building, event)
        if record.has_portrait:
            return events.portrait(session, building, event), None
        if isinstance(record.event, AccessEvent) and record.event.box is not None and record.has_snapshot:
            return events.snapshot(session, building, event), record.event.box
    raise ProblemError("no-event-picture", "No picture of a face is kept of this event.")
