"""What the store gives and takes: frozen records, complete when they leave a session.

A record never reaches back into the database. What a caller may choose stands apart (`PersonFields`,
`CameraFields`, `NewPhoto`) from what the store adds; an update takes all fields and the revision that they were
read at.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from app.types import CameraState, Decision, Event, Zones

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some rows of a list, and where the next ones begin."""

    items: list[Item]
    next_token: str | None  # opaque; None: this is the last page


@dataclass(frozen=True, slots=True)
class BuildingFields:
    """What an operator says about a building."""

    name: str
    event_days: int | None = None  # events older than this are deleted; None: kept
    snapshot_days: int | None = None  # the same for the pictures of events


@dataclass(frozen=True, slots=True)
class BuildingRecord:
    """A building."""

    id: str
    fields: BuildingFields
    gallery_sequence: int
    revision: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PersonFields:
    """What an operator says about a person."""

    name: str
    external_id: str | None = None  # unique in the building
    groups: frozenset[str] = frozenset()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    consent_at: datetime | None = None
    consent_note: str | None = None  # where the consent is to be found
    erase_on: datetime | None = None  # retention date: erased by itself from then on


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """A person."""

    id: str
    building: str
    fields: PersonFields
    photos: int
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewPhoto:
    """A photo that passed every check of enrolment."""

    image: bytes = field(repr=False)  # the picture as it is kept
    media_type: str
    width: int
    height: int
    quality: float  # 0..1
    digest: str | None = None  # SHA-256 hex of the file that was sent
    origin: str = "upload"  # upload | event | import


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """A stored photo without its picture."""

    id: str
    person: str
    media_type: str
    width: int
    height: int
    quality: float
    origin: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CameraFields:
    """What an operator says about a camera. `source` holds the password: mask it before anybody sees it."""

    name: str
    source: str = field(repr=False)
    door: str = ""
    groups: frozenset[str] = frozenset()
    fps: float = 5.0
    transport: str = "tcp"
    ca_certificate: str | None = field(default=None, repr=False)
    loop: bool = False
    enabled: bool = True
    zones: Zones = ()


@dataclass(frozen=True, slots=True)
class CameraRecord:
    """A camera, who watches it, and what it was last seen doing."""

    id: str
    building: str
    fields: CameraFields
    revision: int
    owner: str | None  # the live worker that watches it
    owner_epoch: int
    state: CameraState | None  # as its owner last wrote it; says little while `owner` is None
    state_detail: str
    state_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class CorrectionRecord:
    """What somebody said later about an access event."""

    verdict: str
    person: str | None  # who it really was, if known
    note: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A stored event. Its pictures stay in the store: they are None in `event`."""

    event: Event
    has_snapshot: bool
    has_portrait: bool = False
    correction: CorrectionRecord | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of a building; fields that are None allow everything."""

    kind: str | None = None  # access | camera
    decision: Decision | None = None
    camera: str | None = None
    person: str | None = None
    since: datetime | None = None  # from here on
    until: datetime | None = None  # before this


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """An event that the stream does not have yet."""

    position: int
    event: Event
    has_snapshot: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the stream is behind."""

    waiting: int
    oldest_at: datetime | None  # when the oldest waiting event happened


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as its last heartbeat left it."""

    id: str
    incarnation: str
    seen_at: datetime
    galleries: dict[str, int]  # building -> sequence applied


class Scope(StrEnum):
    """What an API key may do."""

    OPERATOR = "operator"  # everything
    VIEWER = "viewer"  # read
    DEVICE = "device"  # receive events


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key without its secret."""

    id: str
    name: str
    prefix: str  # first characters of the secret, so that people can tell keys apart
    scope: Scope
    building: str | None  # None: all buildings
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Forgotten(StrEnum):
    """How we know that a worker no longer holds what was erased."""

    CONFIRMED = "confirmed"  # its gallery has followed
    LEASE_ENDED = "lease_ended"  # it stopped, or was silent so long that it may not decide any more
    UNCONFIRMED = "unconfirmed"  # it lives, but had not followed when the waiting ended


class Remains(StrEnum):
    """What is left of the erased bytes on the database's disk."""

    NONE = "none"  # SQLite: pages overwritten with zeros, log emptied
    IN_LOG = "in_log"  # SQLite: a long reader kept the log from being emptied; the next erasure empties it
    UNTIL_VACUUM = "until_vacuum"  # PostgreSQL: unreachable, overwritten by VACUUM and by the turn of its log


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure removed, and who confirmed it."""

    building: str
    person: str
    photos: int
    templates: int
    events_anonymised: int
    snapshots: int
    sequence: int  # of the building's gallery; every confirming worker has reached it
    erased_at: datetime
    workers: dict[str, Forgotten]
    remains: Remains

    @property
    def complete(self) -> bool:
        """Whether nobody can still recognise what was erased."""
        return Forgotten.UNCONFIRMED not in self.workers.values()
