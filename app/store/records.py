"""What the store gives and takes: frozen records, complete when they leave a session.

A record never reaches back into the database. What a caller may choose stands apart (`PersonFields`,
`CameraFields`, `NewPhoto`) from what the store adds; an update takes all fields and the revision that they were
read at.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from app.types import CameraState, Decision, Event, Tampering, Zones

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
    target_fpir: float = 1e-3  # share of strangers' visits that may match anybody


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
class PersonFilter:
    """Which persons of a building; what is left out allows everybody."""

    search: str = ""  # how the name or the external id begins, whatever the case
    group: str | None = None
    without_photos: bool = False  # those whom nobody recognises
    ending_before: datetime | None = None  # whose right to enter or whose retention ends before this


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
    event: str | None = None  # id, of the one whose picture it is


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
    tampering: Tampering | None  # stands beside the state until it has ended, whoever owns the camera
    created_at: datetime
    updated_at: datetime

    @property
    def live_state(self) -> CameraState | None:
        """The state that somebody vouches for now."""
        return None if self.owner is None else self.state

    @property
    def kept_from_seeing(self) -> Tampering | None:
        """What keeps it from seeing although its pictures come; while none come, that is trouble enough."""
        online = self.fields.enabled and self.live_state is CameraState.ONLINE
        return self.tampering if online else None


class Verdict(StrEnum):
    """What is wrong with the decision on a visit."""

    WRONG_PERSON = "wrong_person"  # it was not whom the event names
    IS_PERSON = "is_person"  # the event names nobody, or another, and it was this person
    NOT_A_PERSON = "not_a_person"  # nobody stood there


@dataclass(frozen=True, slots=True)
class CorrectionFields:
    """What an operator says later about an access event."""

    verdict: Verdict
    person: str | None = None  # who it really was, if known
    note: str = ""


@dataclass(frozen=True, slots=True)
class CorrectionRecord:
    """What somebody said later about an access event."""

    verdict: Verdict
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
    door: str | None = None
    visit: str | None = None
    corrected: bool | None = None


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """An event that the stream does not have yet."""

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


@dataclass(frozen=True, slots=True)
class CameraStats:
    """What a worker has counted of one camera since it opened it."""

    since: datetime
    seconds: float  # from `since` to these figures, by the worker's own clock
    fps: float  # pictures a second that are to be analysed
    lag: float  # seconds from the capture of the last analysed frame to the end of its analysis
    decoded: int  # frames
    analysed: int  # frames
    exited: int  # of the analysed ones, those that ended at the gate
    dropped: int  # frames that a newer one replaced before they were analysed
    cpu_ms: dict[str, float]  # sums by stage, in the order of a frame's way


@dataclass(frozen=True, slots=True)
class Door:
    """A camera as the world outside may know it."""

    building: str
    camera: str
    name: str
    door: str


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
    rotated_from: str | None = None  # id of the key that this one replaces
    last_used_at: datetime | None = None  # to the minute


class Refusal(StrEnum):
    """Why a key was refused."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SCOPE_TOO_SMALL = "scope-too-small"
    OTHER_BUILDING = "other-building"
    DEVICE = "device"  # logs nobody in
    TOO_MANY = "too-many"  # tries from one address; the key was not looked at


class Forgotten(StrEnum):
    """How we know that a worker no longer holds what was erased."""

    CONFIRMED = "confirmed"  # its gallery has followed
    LEASE_ENDED = "lease_ended"  # it stopped, or was silent so long that it may not decide any more
    UNCONFIRMED = "unconfirmed"  # it lives, but had not followed when the waiting ended


class Remains(StrEnum):
    """What is left on the database's disk of what could be read there: names, notes, external ids.

    Pictures, templates and replies lie there sealed; without the key file their leftovers say nothing.
    """

    NONE = "none"  # SQLite: pages overwritten with zeros, log emptied
    IN_LOG = "in_log"  # SQLite: a long reader kept the log from being emptied; the next erasure empties it
    UNTIL_LOG_TURNS = "until_log_turns"  # PostgreSQL: tables written anew; its log keeps it until that is reused
    UNTIL_VACUUM = "until_vacuum"  # PostgreSQL: a long transaction kept the tables from being written anew


class InStream(StrEnum):
    """What is left of a person in the event stream."""

    REMOVED = "removed"  # no entry names the person, and the server's files were written anew
    UNTIL_REWRITE = "until_rewrite"  # no entry does; the server did not write its files anew on request
    PENDING = "pending"  # the stream does not answer, or events wait to be sent: a side job goes on


@dataclass(frozen=True, slots=True)
class StreamRemains:
    """What was done to the event stream."""

    entries: int  # taken out
    state: InStream


@dataclass(frozen=True, slots=True)
class Removed:
    """What one transaction took away of a person, or of one photo of a person: numbers of rows."""

    building: str
    person: str
    sequence: int  # of the building's gallery; every confirming worker has reached it
    at: datetime
    photos: int
    templates: int
    whole: bool = True  # the person, and not one photo alone
    events: int = 0  # that named the person and stay without the name
    snapshots: int = 0
    portraits: int = 0
    corrections: int = 0  # whose person and note were emptied
    replies: int = 0  # kept for requests that are sent again
    operation_items: int = 0  # of bulk enrolments


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure removed, and who confirmed it."""

    removed: Removed
    workers: dict[str, Forgotten]
    remains: Remains
    stream: StreamRemains

    @property
    def complete(self) -> bool:
        """Whether nobody can still recognise what was erased."""
        return Forgotten.UNCONFIRMED not in self.workers.values()
