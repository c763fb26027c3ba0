"""Corrections: "this was not X". The event stays as it was decided and as doors and sinks have it."""

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from app.api.auth import Acting, needs_here
from app.api.event_forms import CorrectionRead
from app.api.problems import documented, invalid
from app.api.schemas import BuildingId, Id, Note, Reference, Strictly
from app.api.services import Serving
from app.store import audit, corrections
from app.store.records import CorrectionFields, Scope, Verdict

router = APIRouter(prefix="/buildings/{building}/events/{event}/correction", tags=["events"])
OPERATE = [Depends(needs_here(Scope.OPERATOR))]


class CorrectionWrite(Strictly):
    """What is wrong with the decision on a visit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"verdict": "wrong_person"},
                {"verdict": "wrong_person", "person": "per_7c2e9a4f1b0d4e6a8c5b", "note": "It was his brother."},
                {"verdict": "is_person", "person": "per_1f0c6f4b5a0d4e2b9c7a", "note": "With a new beard."},
                {"verdict": "not_a_person", "note": "The poster at the lift."},
            ]
        }
    )

    verdict: Literal["wrong_person", "is_person", "not_a_person"] = Field(
        description="wrong_person: not whom the event names; is_person: the event does not know this person; "
        "not_a_person: nobody stood there"
    )
    person: Reference | None = Field(None, description="id of who it really was; is_person needs it")
    note: Note = Field("", description="for people; emptied with the person, if it is about one")


@router.put("", dependencies=OPERATE, responses=documented("not-found", "conflict"))
def correct_event(
    services: Serving, building: BuildingId, event: Id, body: CorrectionWrite, actor: Acting
) -> CorrectionRead:
    """Say what is wrong with an access event, in place of what was said before.

    The event keeps its decision, and nobody is told by stream, webhook or MQTT: what a door did cannot be taken back.
    """
    fields = CorrectionFields(Verdict(body.verdict), body.person, body.note)
    if fields.verdict is Verdict.IS_PERSON and fields.person is None:
        raise invalid("#/person", "is_person needs the person")
    if fields.verdict is Verdict.NOT_A_PERSON and fields.person is not None:
        raise invalid("#/person", "not_a_person names nobody")
    with services.store.session() as session:
        record = corrections.put(session, building, event, fields, actor.name)
        detail = {"verdict": body.verdict, "person": body.person}
        audit.add(session, actor, "event.corrected", building=building, target=event, detail=detail)
    return CorrectionRead.of(record)


@router.delete("", status_code=204, dependencies=OPERATE, responses=documented("not-found"))
def take_back_correction(services: Serving, building: BuildingId, event: Id, actor: Acting) -> None:
    """Take back what was said about an event."""
    with services.store.session() as session:
        corrections.delete(session, building, event)
        audit.add(session, actor, "correction.deleted", building=building, target=event)
