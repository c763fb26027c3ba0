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
    """Refuse: the way back is the backup that was made before the upgrade."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
