"""What a page shows of an event: the record with the names that its ids stand for."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.errors import NotFoundError
from app.store import cameras, people
from app.store.records import EventRecord
from app.types import AccessEvent, CameraEvent, TamperEvent
from app.web import words

MOST = 200  # cameras whose names a list needs


@dataclass(frozen=True, slots=True)
class EventView:
    """An event for people."""

    record: EventRecord
    camera: str  # its name
    door: str
    corrected: str  # what was said about it later, empty when nothing was

    @property
    def access(self) -> AccessEvent | None:
        """The event if it is about somebody at a door."""
        return self.record.event if isinstance(self.record.event, AccessEvent) else None

    @property
    def state(self) -> CameraEvent | None:
        """The event if it is about a camera."""
        return self.record.event if isinstance(self.record.event, CameraEvent) else None

    @property
    def tampering(self) -> TamperEvent | None:
        """The event if it is about what a camera can see."""
        return self.record.event if isinstance(self.record.event, TamperEvent) else None

    @property
    def headline(self) -> str:
        """The event in a few words."""
        if self.state is not None:
            return f"{self.camera}: {words.STATES[self.state.state].lower()}"
        if self.tampering is not None:
            return f"{self.camera}: {words.tampered(self.tampering).lower()}"
        return words.headline(self.record)


def view_of(session: Session, building: str, record: EventRecord, names: dict[str, str]) -> EventView:
    """Return one event with its names."""
    door = record.event.door if isinstance(record.event, AccessEvent) else ""
    camera = names.get(record.event.camera, "A camera that was removed")
    return EventView(record, camera, door, _corrected(session, building, record))


def views_of(session: Session, building: str, records: list[EventRecord]) -> list[EventView]:
    """Return events with their names."""
    names = camera_names(session, building)
    return [view_of(session, building, record, names) for record in records]


def camera_names(session: Session, building: str) -> dict[str, str]:
    """Return the names of a building's cameras by id."""
    return {camera.id: camera.fields.name for camera in cameras.listing(session, building, MOST).items}


def _corrected(session: Session, building: str, record: EventRecord) -> str:
    said, event = record.correction, record.event
    if said is None or not isinstance(event, AccessEvent):
        return ""
    truly = None
    if said.person is not None:
        try:
            truly = people.get(session, building, said.person).fields.name
        except NotFoundError:  # erased since
            truly = None
    return words.correction(said.verdict, event.person_name or "this person", truly)
