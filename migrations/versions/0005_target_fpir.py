"""How strict the doors of a building are."""

import sqlalchemy as sa
from alembic import op

from app.settings import Settings

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; every building gets what was set for all of them until now."""
    op.add_column("buildings", sa.Column("target_fpir", sa.Float(), nullable=False, server_default="0.001"))
    buildings = sa.table("buildings", sa.column("target_fpir", sa.Float()))
    op.execute(buildings.update().values(target_fpir=Settings().target_fpir))


def downgrade() -> None:
    """Drop the column: an earlier version reads `CARDEA_TARGET_FPIR` alone, for all buildings."""
    with op.batch_alter_table("buildings") as buildings:
        buildings.drop_column("target_fpir")
