"""The tables. Pictures are rows, not files: deleting a person, a backup and a second machine then need nothing else."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite counts rows by itself only in a column of type INTEGER.
Position = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: nobody can say what they mean."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware time."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Constraints need names of their own: without one, a later migration cannot drop them on SQLite.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[Any]: JSON,
    }


class Building(Base):
    """Tenancy and gallery. "main" exists from the start."""

    __tablename__ = "buildings"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    gallery_sequence: Mapped[int] = mapped_column(Position, default=0)  # raised under the row's lock: gapless
    event_days: Mapped[int | None]  # events older than this are deleted; None: kept
    snapshot_days: Mapped[int | None]  # the same for pictures of events
    target_fpir: Mapped[float] = mapped_column(Float, default=1e-3)  # share of strangers' visits that may match anybody
    revision: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]


class PersonRow(Base):
    """A resident, member of staff or guest."""

    __tablename__ = "persons"
    __table_args__ = (UniqueConstraint("building_id", "external_id"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    building_id: Mapped[str] = mapped_column(ForeignKey("buildings.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    external_id: Mapped[str | None] = mapped_column(String(200))
    groups: Mapped[list[str]]
    valid_from: Mapped[datetime | None]
    valid_until: Mapped[datetime | None]
    consent_at: Mapped[datetime | None]
    consent_note: Mapped[str | None] = mapped_column(String(500))
    erase_on: Mapped[datetime | None]  # retention date: erased by itself from then on
    revision: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Photo(Base):
    """An enrolment photo as it was uploaded; re-embedding needs it."""

    __tablename__ = "photos"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"), index=True)
    media_type: Mapped[str] = mapped_column(String(64))
    width: Mapped[int]
    height: Mapped[int]
    quality: Mapped[float] = mapped_column(Float)
    digest: Mapped[str | None] = mapped_column(String(64), index=True)  # SHA-256 of the file that was sent
    origin: Mapped[str] = mapped_column(String(16), default="upload")  # upload | event | import
    event_id: Mapped[str | None] = mapped_column(String(200))  # whose picture it was; the event may be gone
    image: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)  # sealed: photos.image/{id}
    created_at: Mapped[datetime]


class Template(Base):
    """The embedding of one face, bound to one embedder: float32 little-endian, unit length.

    A photo has one of each embedder, so that a change of embedder can be prepared and taken back.
    """

    __tablename__ = "templates"
    __table_args__ = (UniqueConstraint("photo_id", "embedder"),)
    id: Mapped[int] = mapped_column(Position, primary_key=True, autoincrement=True)
    building_id: Mapped[str] = mapped_column(ForeignKey("buildings.id", ondelete="CASCADE"))
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"), index=True)
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"))
    embedder: Mapped[str] = mapped_column(String(128))
    vector: Mapped[bytes] = mapped_column(LargeBinary)  # sealed: templates.vector/{person_id}


class LiveEmbedder(Base):
    """The embedder whose templates are compared: one row, written with the first template of all."""

    __tablename__ = "live_embedder"
    only: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # 1
    embedder: Mapped[str] = mapped_column(String(128))
    since: Mapped[datetime]


class GalleryChange(Base):
    """At which step of a building's gallery a person changed last. The person may be gone: no foreign key."""

    __tablename__ = "gallery_changes"
    building_id: Mapped[str] = mapped_column(ForeignKey("buildings.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(Position, primary_key=True, autoincrement=False)
    person_id: Mapped[str] = mapped_column(String(64))


class CameraRow(Base):
    """A camera, its rights and its present owner."""

    __tablename__ = "cameras"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    building_id: Mapped[str] = mapped_column(ForeignKey("buildings.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    sealed_source: Mapped[bytes] = mapped_column(LargeBinary)  # cameras.source/{id}; shown to workers alone
    door: Mapped[str] = mapped_column(String(200), default="")
    groups: Mapped[list[str]]
    fps: Mapped[float]
    transport: Mapped[str] = mapped_column(String(8))
    ca_certificate: Mapped[str | None] = mapped_column(Text)
    loop: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=True)
    zones: Mapped[list[Any]]  # polygons of [x, y] in shares of the picture; empty: everywhere
    revision: Mapped[int] = mapped_column(Integer, default=1)
    owner: Mapped[str | None] = mapped_column(String(200))  # worker; its lease is `workers.seen_at`
    owner_epoch: Mapped[int] = mapped_column(Position, default=0)  # raised at every take-over
    state: Mapped[str | None] = mapped_column(String(32))  # last CameraState written by the owner
    state_detail: Mapped[str] = mapped_column(Text, default="")
    state_at: Mapped[datetime | None]
    tampering: Mapped[str | None] = mapped_column(String(16))  # TamperKind that was said and has not ended
    tampering_detail: Mapped[str] = mapped_column(Text, default="")
    tampering_since: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Worker(Base):
    """A live worker: its heartbeat and how far its galleries have followed."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    incarnation: Mapped[str] = mapped_column(String(64))  # one per process start
    seen_at: Mapped[datetime]
    galleries: Mapped[dict[str, Any]]  # building -> sequence applied
    stats: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # camera -> counters and stage times


class EventRow(Base):
    """An access or camera event. `detail` holds what no query asks for."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_building_time", "building_id", "occurred_at", "id"),
        UniqueConstraint("camera_id", "owner_epoch", "sequence"),
    )
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # access | camera
    building_id: Mapped[str] = mapped_column(String(64))
    camera_id: Mapped[str] = mapped_column(String(64), index=True)
    owner_epoch: Mapped[int] = mapped_column(Position)
    sequence: Mapped[int] = mapped_column(Position)
    occurred_at: Mapped[datetime]
    decision: Mapped[str | None] = mapped_column(String(16))  # access events
    person_id: Mapped[str | None] = mapped_column(String(64), index=True)  # emptied when the person is erased
    detail: Mapped[dict[str, Any]]


class Snapshot(Base):
    """The picture of an access event, JPEG."""

    __tablename__ = "snapshots"
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), primary_key=True)
    image: Mapped[bytes] = mapped_column(LargeBinary)  # sealed: snapshots.image/{event_id}


class Portrait(Base):
    """The best face of a visit, cut from the full-size frame with some room around it, JPEG."""

    __tablename__ = "portraits"
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), primary_key=True)
    image: Mapped[bytes] = mapped_column(LargeBinary)  # sealed: portraits.image/{event_id}


class Correction(Base):
    """What a person said later about an access event: that the decision was wrong, and who it was."""

    __tablename__ = "corrections"
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(32))
    person_id: Mapped[str | None] = mapped_column(String(64), index=True)  # who it really was, if known
    note: Mapped[str] = mapped_column(String(500), default="")
    actor: Mapped[str] = mapped_column(String(200))
    at: Mapped[datetime]


class Outbox(Base):
    """Events that the stream does not have yet. The message is made from the event when it is sent."""

    __tablename__ = "outbox"
    position: Mapped[int] = mapped_column(Position, primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), unique=True)


class ApiKey(Base):
    """A key: only its SHA-256 is kept, which is enough for 256 random bits."""

    __tablename__ = "api_keys"
    __table_args__ = (ForeignKeyConstraint(["building_id"], ["buildings.id"], ondelete="CASCADE"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scope: Mapped[str] = mapped_column(String(16))  # operator | viewer | device
    building_id: Mapped[str | None] = mapped_column(String(64))  # None: all buildings
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    rotated_from: Mapped[str | None] = mapped_column(String(64))  # the key that this one replaces
    last_used_at: Mapped[datetime | None]


class LoginSession(Base):
    """A key exchanged for a cookie. Only the SHA-256 of the cookie's secret is kept."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class IdempotentReply(Base):
    """The answer to a POST with an Idempotency-Key, given again when the request is sent again."""

    __tablename__ = "idempotent_replies"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of caller, method, path and key
    fingerprint: Mapped[str] = mapped_column(String(64))  # SHA-256 of the body
    resource: Mapped[str] = mapped_column(Text, default="")  # path of what was made, so that an erasure finds it
    status: Mapped[int | None]  # None: the first request still runs
    headers: Mapped[dict[str, Any]]
    reply: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed: idempotent_replies.reply/{id}
    created_at: Mapped[datetime]


class AuditRow(Base):
    """Who did what. Nothing here names a person or holds a secret; no foreign keys: it outlives what it tells of."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_building_id", "building_id", "id"),)
    id: Mapped[int] = mapped_column(Position, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    building_id: Mapped[str | None] = mapped_column(String(64))
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[str] = mapped_column(String(64))
    actor_name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]]


class Tombstone(Base):
    """Somebody who was erased and must not come back with a backup."""

    __tablename__ = "tombstones"
    person_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    building_id: Mapped[str] = mapped_column(String(64))
    erased_at: Mapped[datetime]


class StreamRemoval(Base):
    """What must still be taken out of the Redis stream, because somebody was erased.

    The person's own id finds the entries of events whose rows are gone already.
    """

    __tablename__ = "stream_removals"
    subject: Mapped[str] = mapped_column(String(200), primary_key=True)  # id of an event or of a person
    at: Mapped[datetime]


class Operation(Base):
    """A long job: what it does, how far it is, and what came of it."""

    __tablename__ = "operations"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    building_id: Mapped[str] = mapped_column(ForeignKey("buildings.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))  # running | done | failed | cancelled
    total: Mapped[int]
    done: Mapped[int]
    options: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    actor: Mapped[dict[str, Any]]
    lease_until: Mapped[datetime | None]  # who works on it says so; after this anybody may go on
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class OperationItem(Base):
    """One step of a long job; its photo is deleted when it is done."""

    __tablename__ = "operation_items"
    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    detail: Mapped[dict[str, Any]]
    # Sealed: operation_items.photo/{operation_id}. Whoever looks for names must not load an archive of pictures.
    photo: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    person_id: Mapped[str | None] = mapped_column(String(64), index=True)
    outcome: Mapped[str | None] = mapped_column(String(32))  # None: still to do
    reasons: Mapped[list[str]]


class Webhook(Base):
    """Somebody's HTTPS address that receives events."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    building_id: Mapped[str] = mapped_column(ForeignKey("buildings.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    url: Mapped[str] = mapped_column(Text)
    types: Mapped[list[str]]  # event types that it wants; empty: all
    secrets: Mapped[bytes] = mapped_column(LargeBinary)  # sealed: webhooks.secrets/{id}; several while rotating
    enabled: Mapped[bool] = mapped_column(default=True)
    trouble: Mapped[str] = mapped_column(Text, default="")  # why it was switched off, for people
    held_until: Mapped[datetime | None]  # one delivery is in somebody's hands until then
    revision: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Delivery(Base):
    """One event on its way to one webhook, and what came of it."""

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("webhook_id", "event_id"), Index("ix_deliveries_due", "state", "next_at"))
    id: Mapped[int] = mapped_column(Position, primary_key=True, autoincrement=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(String(16))  # waiting | delivered | given_up
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime]  # when it is due, or until when somebody is at it
    status: Mapped[int | None]  # of the last answer
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class EncryptionKey(Base):
    """Which keys of the key file seal this database: ids alone."""

    __tablename__ = "encryption_keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    created_at: Mapped[datetime]
