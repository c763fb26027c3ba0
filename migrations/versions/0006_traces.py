"""Which event a photo came from, who is to be taken out of the stream, and which webhook has a delivery in hand."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of photos that came from events before, the audit log tells from which."""
    op.add_column("photos", sa.Column("event_id", sa.String(200)))
    op.add_column("webhooks", sa.Column("held_until", sa.DateTime(timezone=True)))
    with op.batch_alter_table("stream_removals") as removals:
        removals.alter_column("event_id", new_column_name="subject")
    audit = sa.table("audit", sa.column("action"), sa.column("detail", sa.JSON()))
    photos = sa.table("photos", sa.column("id"), sa.column("event_id"))
    for (detail,) in op.get_bind().execute(sa.select(audit.c.detail).where(audit.c.action == "photo.added")).all():
        if detail.get("event") is not None:
            op.execute(photos.update().where(photos.c.id == detail["photo"]).values(event_id=detail["event"]))


def downgrade() -> None:
    """Drop the columns; an earlier version looks for events alone, and knows nothing of the rest."""
    removals = sa.table("stream_removals", sa.column("subject"))
    op.execute(removals.delete().where(removals.c.subject.like("per\\_%", escape="\\")))
    with op.batch_alter_table("stream_removals") as table:
        table.alter_column("subject", new_column_name="event_id")
    for name, column in (("webhooks", "held_until"), ("photos", "event_id")):
        with op.batch_alter_table(name) as table:
            table.drop_column(column)
