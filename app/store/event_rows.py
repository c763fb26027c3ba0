"""Events as rows and back. What queries ask for has columns, the rest is the row's `detail`.

A row knows a person's id alone: the name is in one place, where an erasure finds it.
"""

from datetime import datetime
from typing import Any

from app.store.tables import EventRow
from app.types import AccessEvent, CameraEvent, CameraState, Decision, Ending, Event, Reason, TamperEvent, TamperKind


def to_row(event: Event) -> EventRow:
    """Return the row of an event, without its snapshot."""
    row = EventRow(
        id=event.id,
        building_id=event.building,
        camera_id=event.camera,
        owner_epoch=event.owner_epoch,
        sequence=event.sequence,
    )
    row.kind = event.type.partition(".")[0]
    if isinstance(event, AccessEvent):
        row.occurred_at, row.detail = event.decided_at, _access_detail(event)
        row.decision, row.person_id = event.decision.value, event.person
    else:
        detail = _camera_detail(event) if isinstance(event, CameraEvent) else _tamper_detail(event)
        row.occurred_at, row.detail = event.at, detail | {"type": event.type}
    return row


def to_event(row: EventRow, person_name: str | None) -> Event:
    """Return the event of a row; its pictures stay in the store."""
    if row.kind == "access":
        return _access(row, person_name)
    # Rows from before the type was kept tell by what they hold.
    about = row.detail.get("type", TamperEvent.type if "tampering" in row.detail else CameraEvent.type)
    return _camera(row) if about == CameraEvent.type else _tamper(row)


def _access_detail(event: AccessEvent) -> dict[str, Any]:
    return {
        "door": event.door,
        "visit": event.visit,
        "reasons": [reason.value for reason in event.reasons],
        "similarity": event.similarity,
        "threshold": event.threshold,
        "margin": event.margin,
        "quality": event.quality,
        "box": event.box,
        "nets": event.nets,
        "captured_at": event.captured_at.isoformat(),
        "expires_at": event.expires_at.isoformat(),
        "latency_ms": event.latency_ms,
    }


def _access(row: EventRow, person_name: str | None) -> AccessEvent:
    detail = row.detail
    box = detail["box"]
    return AccessEvent(
        id=row.id,
        sequence=row.sequence,
        owner_epoch=row.owner_epoch,
        building=row.building_id,
        camera=row.camera_id,
        door=detail["door"],
        visit=detail["visit"],
        decision=Decision(row.decision or ""),
        reasons=tuple(Reason(code) for code in detail["reasons"]),
        person=row.person_id,
        person_name=person_name,
        similarity=detail["similarity"],
        threshold=detail["threshold"],
        margin=detail["margin"],
        quality=detail["quality"],
        box=None if box is None else (box[0], box[1], box[2], box[3]),
        nets=detail["nets"],
        captured_at=datetime.fromisoformat(detail["captured_at"]),
        decided_at=row.occurred_at,
        expires_at=datetime.fromisoformat(detail["expires_at"]),
        latency_ms=detail["latency_ms"],
    )


def _camera_detail(event: CameraEvent) -> dict[str, Any]:
    previous = None if event.previous is None else event.previous.value
    return {"state": event.state.value, "previous": previous, "detail": event.detail}


def _camera(row: EventRow) -> CameraEvent:
    previous = row.detail["previous"]
    return CameraEvent(
        id=row.id,
        sequence=row.sequence,
        owner_epoch=row.owner_epoch,
        building=row.building_id,
        camera=row.camera_id,
        state=CameraState(row.detail["state"]),
        previous=None if previous is None else CameraState(previous),
        detail=row.detail["detail"],
        at=row.occurred_at,
    )


def _tamper_detail(event: TamperEvent) -> dict[str, Any]:
    return {
        "tampering": event.kind.value,
        "since": event.since.isoformat(),
        "ended_at": None if event.ended_at is None else event.ended_at.isoformat(),
        "ended_by": event.ended_by,
        "detail": event.detail,
    }


def _tamper(row: EventRow) -> TamperEvent:
    ended = row.detail["ended_at"]
    how = row.detail.get("ended_by", ended and Ending.RECOVERED)  # before it was kept, every end was called that
    return TamperEvent(
        id=row.id,
        sequence=row.sequence,
        owner_epoch=row.owner_epoch,
        building=row.building_id,
        camera=row.camera_id,
        kind=TamperKind(row.detail["tampering"]),
        since=datetime.fromisoformat(row.detail["since"]),
        ended_at=None if ended is None else datetime.fromisoformat(ended),
        ended_by=None if how is None else Ending(how),
        detail=row.detail["detail"],
        at=row.occurred_at,
    )
