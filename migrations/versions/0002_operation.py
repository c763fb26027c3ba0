"""Running a building: sealing, consent and retention, corrections, audit, sessions, operations, webhooks."""

from datetime import datetime

import sqlalchemy as sa
from alembic import context, op

from app.keyring import Keyring
from app.settings import Settings

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables, and seal what lay open."""
    _columns()
    _seal_all(context.config.attributes.get("keyring") or Keyring(Settings().keys()))
    with op.batch_alter_table("cameras") as cameras:
        cameras.drop_column("source")
        cameras.alter_column("sealed_source", existing_type=sa.LargeBinary(), nullable=False)
    with op.batch_alter_table("events") as events:
        events.drop_column("person_name")  # a name is in one place alone, so that it can be erased there
    _pictures()
    _access()
    _erasure()
    _operations()
    _webhooks()
    if op.get_bind().dialect.name == "postgresql":
        _leave_no_copies()


def downgrade() -> None:
    """Refuse: what is sealed would have to lie open again. Restore the backup that was made before the upgrade."""
    raise NotImplementedError("restore the backup that was made before the upgrade")


def _text(name: str, length: int, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, TIME, nullable=nullable)


def _long(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=False)


def _bytes(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _child_of(table: str, column: str, parent: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{parent}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def _columns() -> None:
    one, nothing, empty = sa.text("1"), sa.text("'{}'"), sa.text("'[]'")
    op.add_column("buildings", _number("event_days", nullable=True))
    op.add_column("buildings", _number("snapshot_days", nullable=True))
    op.add_column("buildings", sa.Column("revision", sa.Integer(), nullable=False, server_default=one))
    # A new installation keeps pictures for a month and events for a year; one that is in use keeps what it has.
    op.execute(
        "UPDATE buildings SET event_days = 365, snapshot_days = 30 WHERE NOT EXISTS (SELECT 1 FROM api_keys) "
        "AND NOT EXISTS (SELECT 1 FROM cameras) AND NOT EXISTS (SELECT 1 FROM persons)"
    )
    op.add_column("persons", _time("consent_at", nullable=True))
    op.add_column("persons", _text("consent_note", 500, nullable=True))
    op.add_column("persons", _time("erase_on", nullable=True))
    op.add_column("photos", _text("digest", 64, nullable=True))
    op.add_column("photos", sa.Column("origin", sa.String(16), nullable=False, server_default="upload"))
    op.create_index("ix_photos_digest", "photos", ["digest"])
    op.add_column("cameras", sa.Column("zones", sa.JSON(), nullable=False, server_default=empty))
    op.add_column("cameras", _bytes("sealed_source", nullable=True))
    op.add_column("workers", sa.Column("stats", sa.JSON(), nullable=False, server_default=nothing))
    op.add_column("api_keys", _text("rotated_from", 64, nullable=True))
    op.add_column("api_keys", _time("last_used_at", nullable=True))


def _seal_all(keyring: Keyring) -> None:
    """Seal every photo, template, picture and address, row by row: a large building has gigabytes of them."""
    _rewrite("photos", "id", "image", "image", "id", keyring, "photos.image")
    _rewrite("templates", "id", "vector", "vector", "person_id", keyring, "templates.vector")
    _rewrite("snapshots", "event_id", "image", "image", "event_id", keyring, "snapshots.image")
    _rewrite("cameras", "id", "source", "sealed_source", "id", keyring, "cameras.source")


def _rewrite(table: str, key: str, source: str, target: str, owner: str, keyring: Keyring, label: str) -> None:
    connection = op.get_bind()
    rows = sa.table(table, *(sa.column(name) for name in dict.fromkeys((key, source, owner))), _bytes(target))
    for identity in connection.scalars(sa.select(rows.c[key])).all():
        mine = rows.c[key] == identity
        plain, holder = connection.execute(sa.select(rows.c[source], rows.c[owner]).where(mine)).one()
        data = plain.encode() if isinstance(plain, str) else bytes(plain)
        connection.execute(sa.update(rows).where(mine).values({target: keyring.seal(data, f"{label}/{holder}")}))


def _leave_no_copies() -> None:
    """Keep what can be erased out of PostgreSQL's statistics, and out of the dead rows of what was sealed above.

    Changing a column's type drops its statistics, and by an expression it writes the table anew.
    """
    for table, column in (("persons", "name"), ("persons", "external_id"), ("persons", "consent_note")):
        length = 500 if column == "consent_note" else 200
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE VARCHAR({length})")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
    op.execute("ALTER TABLE corrections ALTER COLUMN note SET STATISTICS 0")
    for table, column in (("photos", "image"), ("templates", "vector"), ("snapshots", "image")):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE BYTEA USING {column} || ''::bytea")
    op.execute("ALTER TABLE cameras ALTER COLUMN sealed_source TYPE BYTEA USING sealed_source || ''::bytea")
    op.execute("ALTER TABLE events ALTER COLUMN decision TYPE VARCHAR(16) USING decision || ''")  # it had names


def _pictures() -> None:
    op.create_table(
        "portraits",
        _text("event_id", 200),
        _bytes("image"),
        _child_of("portraits", "event_id", "events"),
        sa.PrimaryKeyConstraint("event_id", name="pk_portraits"),
    )
    op.create_table(
        "corrections",
        _text("event_id", 200),
        _text("verdict", 32),
        _text("person_id", 64, nullable=True),
        _text("note", 500),
        _text("actor", 200),
        _time("at"),
        _child_of("corrections", "event_id", "events"),
        sa.PrimaryKeyConstraint("event_id", name="pk_corrections"),
    )
    op.create_index("ix_corrections_person_id", "corrections", ["person_id"])


def _access() -> None:
    op.create_table(
        "sessions",
        _text("digest", 64),
        _text("key_id", 64),
        _text("csrf", 64),
        _text("address", 64),
        _time("created_at"),
        _time("seen_at"),
        _time("expires_at"),
        _child_of("sessions", "key_id", "api_keys"),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
    )
    op.create_index("ix_sessions_key_id", "sessions", ["key_id"])
    op.create_table(
        "idempotent_replies",
        _text("id", 64),
        _text("fingerprint", 64),
        _long("resource"),
        _number("status", nullable=True),
        _json("headers"),
        _bytes("reply", nullable=True),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_idempotent_replies"),
    )
    op.create_table(
        "audit",
        sa.Column("id", POSITION, autoincrement=True, nullable=False),
        _time("at"),
        _text("building_id", 64, nullable=True),
        _text("actor_kind", 16),
        _text("actor_id", 64),
        _text("actor_name", 200),
        _text("address", 64),
        _text("action", 64),
        _text("target", 200),
        _json("detail"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_building_id", "audit", ["building_id", "id"])


def _erasure() -> None:
    op.create_table(
        "tombstones",
        _text("person_id", 64),
        _text("building_id", 64),
        _time("erased_at"),
        sa.PrimaryKeyConstraint("person_id", name="pk_tombstones"),
    )
    op.create_table(
        "stream_removals",
        _text("event_id", 200),
        _time("at"),
        sa.PrimaryKeyConstraint("event_id", name="pk_stream_removals"),
    )
    op.create_table(
        "encryption_keys",
        _text("id", 16),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_encryption_keys"),
    )


def _operations() -> None:
    op.create_table(
        "operations",
        _text("id", 64),
        _text("building_id", 64),
        _text("kind", 32),
        _text("state", 16),
        _number("total"),
        _number("done"),
        _json("options"),
        _json("report"),
        _json("actor"),
        _time("lease_until", nullable=True),
        _time("created_at"),
        _time("updated_at"),
        _child_of("operations", "building_id", "buildings"),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
    )
    op.create_index("ix_operations_building_id", "operations", ["building_id"])
    op.create_table(
        "operation_items",
        _text("operation_id", 64),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        _json("detail"),
        _bytes("photo", nullable=True),
        _text("person_id", 64, nullable=True),
        _text("outcome", 32, nullable=True),
        _json("reasons"),
        _child_of("operation_items", "operation_id", "operations"),
        sa.PrimaryKeyConstraint("operation_id", "position", name="pk_operation_items"),
    )
    op.create_index("ix_operation_items_person_id", "operation_items", ["person_id"])


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        _text("id", 64),
        _text("building_id", 64),
        _text("name", 200),
        _long("url"),
        _json("types"),
        _bytes("secrets"),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        _long("trouble"),
        _number("revision"),
        _time("created_at"),
        _time("updated_at"),
        _child_of("webhooks", "building_id", "buildings"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_building_id", "webhooks", ["building_id"])
    op.create_table(
        "deliveries",
        sa.Column("id", POSITION, autoincrement=True, nullable=False),
        _text("webhook_id", 64),
        _text("event_id", 200),
        _text("state", 16),
        _number("attempts"),
        _time("next_at"),
        _number("status", nullable=True),
        _long("error"),
        _time("created_at"),
        _time("finished_at", nullable=True),
        _child_of("deliveries", "webhook_id", "webhooks"),
        _child_of("deliveries", "event_id", "events"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("webhook_id", "event_id", name="uq_deliveries_webhook_id_event_id"),
    )
    op.create_index("ix_deliveries_event_id", "deliveries", ["event_id"])
    op.create_index("ix_deliveries_due", "deliveries", ["state", "next_at"])
