"""Events as answers: the CloudEvent of `app.events`, typed, and what is known of it only here."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.events import to_cloud_event
from app.store.records import CorrectionRecord, EventRecord, Verdict
from app.types import CameraState, Decision, Ending, Reason, TamperKind

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]  # as it stands in the event

_CORRECTION: dict[str, JsonValue] = {
    "verdict": "wrong_person",
    "person": "per_7c2e9a4f1b0d4e6a8c5b",
    "note": "It was his brother.",
    "actor": "front desk",
    "at": "2026-01-01T09:30:00Z",
}
_ACCESS: dict[str, JsonValue] = {
    "specversion": "1.0",
    "id": "cam_1f0c6f4b5a0d4e2b9c7a.3.18",
    "source": "/buildings/main/cameras/cam_1f0c6f4b5a0d4e2b9c7a",
    "type": "org.cardea.access.granted.v1",
    "subject": "visits/8f3c1d2a9b7e4f60",
    "time": "2026-01-01T08:00:07.412000Z",
    "sequence": "0000000003.000000000018",
    "datacontenttype": "application/json",
    "data": {
        "sequence": 18,
        "owner_epoch": 3,
        "building": "main",
        "camera": "cam_1f0c6f4b5a0d4e2b9c7a",
        "door": "front",
        "visit": "8f3c1d2a9b7e4f60",
        "decision": "granted",
        "reasons": ["matched"],
        "person": {"id": "per_1f0c6f4b5a0d4e2b9c7a", "name": "Eileen Collins"},
        "similarity": 0.7316,
        "threshold": 0.5461,
        "margin": 0.4102,
        "quality": 0.81,
        "box": [0.42, 0.18, 0.51, 0.33],
        "nets": {"embedder": "embedder-taught-mobilefacenet@93edc28f9f51"},
        "captured_at": "2026-01-01T08:00:07.375000Z",
        "decided_at": "2026-01-01T08:00:07.412000Z",
        "expires_at": "2026-01-01T08:00:12.375000Z",
        "latency_ms": {"embed": 3.5, "capture_to_decision": 37.0},
        "snapshot": "/v1/buildings/main/events/cam_1f0c6f4b5a0d4e2b9c7a.3.18/snapshot",
    },
    "portrait": "/v1/buildings/main/events/cam_1f0c6f4b5a0d4e2b9c7a.3.18/portrait",
    "correction": _CORRECTION,
}
_CAMERA: dict[str, JsonValue] = {
    "specversion": "1.0",
    "id": "cam_1f0c6f4b5a0d4e2b9c7a.3.17",
    "source": "/buildings/main/cameras/cam_1f0c6f4b5a0d4e2b9c7a",
    "type": "org.cardea.camera.state.v1",
    "subject": "cameras/cam_1f0c6f4b5a0d4e2b9c7a",
    "time": "2026-01-01T08:00:02.000000Z",
    "sequence": "0000000003.000000000017",
    "datacontenttype": "application/json",
    "data": {
        "sequence": 17,
        "owner_epoch": 3,
        "building": "main",
        "camera": "cam_1f0c6f4b5a0d4e2b9c7a",
        "state": "online",
        "previous": "offline",
        "detail": "",
        "at": "2026-01-01T08:00:02.000000Z",
    },
    "portrait": None,
    "correction": None,
}
_TAMPERED: dict[str, JsonValue] = {
    "specversion": "1.0",
    "id": "cam_1f0c6f4b5a0d4e2b9c7a.3.19",
    "source": "/buildings/main/cameras/cam_1f0c6f4b5a0d4e2b9c7a",
    "type": "org.cardea.camera.tampered.v1",
    "subject": "cameras/cam_1f0c6f4b5a0d4e2b9c7a",
    "time": "2026-01-01T08:20:14.000000Z",
    "sequence": "0000000003.000000000019",
    "datacontenttype": "application/json",
    "data": {
        "sequence": 19,
        "owner_epoch": 3,
        "building": "main",
        "camera": "cam_1f0c6f4b5a0d4e2b9c7a",
        "tampered": True,
        "kind": "covered",
        "detail": "the picture shows nothing",
        "since": "2026-01-01T08:20:02.000000Z",
        "ended_at": None,
        "ended_by": None,
        "at": "2026-01-01T08:20:14.000000Z",
    },
    "portrait": None,
    "correction": None,
}


class EventPerson(BaseModel):
    """Whom an event names."""

    id: str
    name: str | None


class AccessData(BaseModel):
    """`data` of an access event: one visit, decided."""

    sequence: int
    owner_epoch: int
    building: str
    camera: str
    door: str
    visit: str
    decision: Decision
    reasons: list[Reason]
    person: EventPerson | None = Field(description="of granted and denied, until the person is erased")
    similarity: float | None
    threshold: float | None
    margin: float | None
    quality: float | None
    box: list[float] | None = Field(description="x1, y1, x2, y2 of the face in shares of the picture")
    nets: dict[str, str]
    captured_at: Moment
    decided_at: Moment
    expires_at: Moment = Field(description="a grant is worth nothing after this")
    latency_ms: dict[str, float]
    snapshot: str | None = Field(description="path of the picture")


class CameraData(BaseModel):
    """`data` of a camera event: a change of its state."""

    sequence: int
    owner_epoch: int
    building: str
    camera: str
    state: CameraState
    previous: CameraState | None
    detail: str
    at: Moment


class TamperData(BaseModel):
    """`data` of an event about tampering: a camera whose pictures come is kept from seeing, or is no more."""

    sequence: int
    owner_epoch: int
    building: str
    camera: str
    tampered: bool = Field(description="true: it begins with this event; false: it has ended")
    kind: TamperKind
    detail: str = Field(description="for people: what is seen, or why it ended")
    since: Moment = Field(description="when it began")
    ended_at: Moment | None = Field(description="since when it is well again, or when another view was accepted")
    ended_by: Ending | None = Field(description="recovered: it sees what it saw; accepted: another view counts now")
    at: Moment


class CorrectionRead(BaseModel):
    """What somebody said later about a visit."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CORRECTION]})

    verdict: Verdict
    person: str | None = Field(description="id of who it really was, if known")
    note: str
    actor: str = Field(description="name of the key that said so")
    at: datetime

    @staticmethod
    def of(record: CorrectionRecord) -> "CorrectionRead":
        """Return the answer for a record."""
        return CorrectionRead(
            verdict=record.verdict, person=record.person, note=record.note, actor=record.actor, at=record.at
        )


class EventRead(BaseModel):
    """A CloudEvent 1.0 about an access or a camera; `portrait` and `correction` are in no message of the stream."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ACCESS, _CAMERA, _TAMPERED]})

    specversion: str
    id: str
    source: str
    type: str = Field(description="org.cardea.access.{decision}.v1, org.cardea.camera.state.v1 or .tampered.v1")
    subject: str
    time: Moment
    sequence: str
    datacontenttype: str
    data: AccessData | CameraData | TamperData
    portrait: str | None = Field(description="path of the close picture of the face")
    correction: CorrectionRead | None = Field(description="what somebody said later; the event itself stays")

    @staticmethod
    def of(record: EventRecord) -> "EventRead":
        """Return the answer for a record."""
        event, said = record.event, record.correction
        place = f"/v1/buildings/{event.building}/events/{event.id}/portrait"
        return EventRead(
            **to_cloud_event(event, record.has_snapshot),
            portrait=place if record.has_portrait else None,
            correction=None if said is None else CorrectionRead.of(said),
        )
