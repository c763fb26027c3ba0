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
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcTime, dict[str, Any]: JSON, list[str]: JSON}


class Building(Base):
    """Tenancy and gallery. "main" exists from the start."""

    __tablename__ = "buildings"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    gallery_sequence: Mapped[int] = mapped_column(Position, default=0)  # raised under the row's lock: gapless
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
    image: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    created_at: Mapped[datetime]


class Template(Base):
    """The embedding of one face, bound to one embedder: float32 little-endian, unit length."""

    __tablename__ = "templates"
    __table_args__ = (UniqueConstraint("photo_id", "embedder"),)
    id: Mapped[int] = mapped_column(Position, primary_key=True, autoincrement=True)
    building_id: Mapped[str] = mapped_column(ForeignKey("buildings.id", ondelete="CASCADE"))
    person_id: Mapped[str] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"), index=True)
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"))
    embedder: Mapped[str] = mapped_column(String(128))
    vector: Mapped[bytes] = mapped_column(LargeBinary)


class GalleryChange(Base):
    """Which person changed at which step of a building's gallery. The person may be gone: no foreign key."""

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
    source: Mapped[str] = mapped_column(Text)  # with its password: shown to workers alone
    door: Mapped[str] = mapped_column(String(200), default="")
    groups: Mapped[list[str]]
    fps: Mapped[float]
    transport: Mapped[str] = mapped_column(String(8))
    ca_certificate: Mapped[str | None] = mapped_column(Text)
    loop: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=True)
    revision: Mapped[int] = mapped_column(Integer, default=1)
    owner: Mapped[str | None] = mapped_column(String(200))  # worker; its lease is `workers.seen_at`
    owner_epoch: Mapped[int] = mapped_column(Position, default=0)  # raised at every take-over
    state: Mapped[str | None] = mapped_column(String(32))  # last CameraState written by the owner
    state_detail: Mapped[str] = mapped_column(Text, default="")
    state_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Worker(Base):
    """A live worker: its heartbeat and how far its galleries have followed."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    incarnation: Mapped[str] = mapped_column(String(64))  # one per process start
    seen_at: Mapped[datetime]
    galleries: Mapped[dict[str, Any]]  # building -> sequence applied


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
    person_name: Mapped[str | None] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]]


class Snapshot(Base):
    """The picture of an access event, JPEG."""

    __tablename__ = "snapshots"
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), primary_key=True)
    image: Mapped[bytes] = mapped_column(LargeBinary)


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
