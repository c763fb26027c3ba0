"""The first tables, and the building "main"."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    _buildings()
    _persons()
    _photos()
    _cameras()
    _events()
    moment = datetime.now(UTC)
    buildings = sa.table("buildings", *(sa.column(name) for name in ("id", "name", "gallery_sequence")))
    buildings.append_column(sa.column("created_at", TIME))
    op.bulk_insert(buildings, [{"id": "main", "name": "Main building", "gallery_sequence": 0, "created_at": moment}])


def downgrade() -> None:
    """Drop every table, children first."""
    for table in (
        "outbox",
        "snapshots",
        "events",
        "workers",
        "cameras",
        "templates",
        "photos",
        "gallery_changes",
        "persons",
        "api_keys",
        "buildings",
    ):
        op.drop_table(table)


def _text(name: str, length: int, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, TIME, nullable=nullable)


def _child_of(table: str, column: str, parent: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{parent}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def _buildings() -> None:
    op.create_table(
        "buildings",
        _text("id", 64),
        _text("name", 200),
        sa.Column("gallery_sequence", POSITION, nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_buildings"),
    )
    op.create_table(
        "gallery_changes",
        _text("building_id", 64),
        sa.Column("sequence", POSITION, autoincrement=False, nullable=False),
        _text("person_id", 64),
        _child_of("gallery_changes", "building_id", "buildings"),
        sa.PrimaryKeyConstraint("building_id", "sequence", name="pk_gallery_changes"),
    )
    op.create_table(
        "api_keys",
        _text("id", 64),
        _text("name", 200),
        _text("prefix", 16),
        _text("digest", 64),
        _text("scope", 16),
        _text("building_id", 64, nullable=True),
        _time("created_at"),
        _time("expires_at", nullable=True),
        _time("revoked_at", nullable=True),
        _child_of("api_keys", "building_id", "buildings"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )


def _persons() -> None:
    op.create_table(
        "persons",
        _text("id", 64),
        _text("building_id", 64),
        _text("name", 200),
        _text("external_id", 200, nullable=True),
        sa.Column("groups", sa.JSON(), nullable=False),
        _time("valid_from", nullable=True),
        _time("valid_until", nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        _time("created_at"),
        _time("updated_at"),
        _child_of("persons", "building_id", "buildings"),
        sa.PrimaryKeyConstraint("id", name="pk_persons"),
        sa.UniqueConstraint("building_id", "external_id", name="uq_persons_building_id_external_id"),
    )
    op.create_index("ix_persons_building_id", "persons", ["building_id"])


def _photos() -> None:
    op.create_table(
        "photos",
        _text("id", 64),
        _text("person_id", 64),
        _text("media_type", 64),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("quality", sa.Float(), nullable=False),
        sa.Column("image", sa.LargeBinary(), nullable=False),
        _time("created_at"),
        _child_of("photos", "person_id", "persons"),
        sa.PrimaryKeyConstraint("id", name="pk_photos"),
    )
    op.create_index("ix_photos_person_id", "photos", ["person_id"])
    op.create_table(
        "templates",
        sa.Column("id", POSITION, autoincrement=True, nullable=False),
        _text("building_id", 64),
        _text("person_id", 64),
        _text("photo_id", 64),
        _text("embedder", 128),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        _child_of("templates", "building_id", "buildings"),
        _child_of("templates", "person_id", "persons"),
        _child_of("templates", "photo_id", "photos"),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        sa.UniqueConstraint("photo_id", "embedder", name="uq_templates_photo_id_embedder"),
    )
    op.create_index("ix_templates_person_id", "templates", ["person_id"])


def _cameras() -> None:
    op.create_table(
        "cameras",
        _text("id", 64),
        _text("building_id", 64),
        _text("name", 200),
        sa.Column("source", sa.Text(), nullable=False),
        _text("door", 200),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("fps", sa.Double(), nullable=False),
        _text("transport", 8),
        sa.Column("ca_certificate", sa.Text(), nullable=True),
        sa.Column("loop", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        _text("owner", 200, nullable=True),
        sa.Column("owner_epoch", POSITION, nullable=False),
        _text("state", 32, nullable=True),
        sa.Column("state_detail", sa.Text(), nullable=False),
        _time("state_at", nullable=True),
        _time("created_at"),
        _time("updated_at"),
        _child_of("cameras", "building_id", "buildings"),
        sa.PrimaryKeyConstraint("id", name="pk_cameras"),
    )
    op.create_index("ix_cameras_building_id", "cameras", ["building_id"])
    op.create_table(
        "workers",
        _text("id", 200),
        _text("incarnation", 64),
        _time("seen_at"),
        sa.Column("galleries", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )


def _events() -> None:
    op.create_table(
        "events",
        _text("id", 200),
        _text("kind", 16),
        _text("building_id", 64),
        _text("camera_id", 64),
        sa.Column("owner_epoch", POSITION, nullable=False),
        sa.Column("sequence", POSITION, nullable=False),
        _time("occurred_at"),
        _text("decision", 16, nullable=True),
        _text("person_id", 64, nullable=True),
        _text("person_name", 200, nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("camera_id", "owner_epoch", "sequence", name="uq_events_camera_id_owner_epoch_sequence"),
    )
    op.create_index("ix_events_building_time", "events", ["building_id", "occurred_at", "id"])
    op.create_index("ix_events_camera_id", "events", ["camera_id"])
    op.create_index("ix_events_person_id", "events", ["person_id"])
    op.create_table(
        "snapshots",
        _text("event_id", 200),
        sa.Column("image", sa.LargeBinary(), nullable=False),
        _child_of("snapshots", "event_id", "events"),
        sa.PrimaryKeyConstraint("event_id", name="pk_snapshots"),
    )
    op.create_table(
        "outbox",
        sa.Column("position", POSITION, autoincrement=True, nullable=False),
        _text("event_id", 200),
        _child_of("outbox", "event_id", "events"),
        sa.PrimaryKeyConstraint("position", name="pk_outbox"),
        sa.UniqueConstraint("event_id", name="uq_outbox_event_id"),
    )
