"""Which embedder's templates are compared."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the row; live is what made the newest template, for that is what ran last."""
    live = op.create_table(
        "live_embedder",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("embedder", sa.String(128), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("only", name="pk_live_embedder"),
    )
    templates = sa.table("templates", sa.column("id"), sa.column("embedder"))
    newest = sa.select(sa.literal(1), templates.c.embedder, sa.func.current_timestamp())
    newest = newest.order_by(templates.c.id.desc()).limit(1)
    op.execute(live.insert().from_select(["only", "embedder", "since"], newest))


def downgrade() -> None:
    """Refuse: the way back is the backup that was made before the upgrade."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
