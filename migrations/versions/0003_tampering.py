"""What keeps a camera from seeing, beside its state."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of no camera has anything been said yet."""
    op.add_column("cameras", sa.Column("tampering", sa.String(16), nullable=True))
    op.add_column("cameras", sa.Column("tampering_detail", sa.Text(), nullable=False, server_default=""))
    op.add_column("cameras", sa.Column("tampering_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Refuse: the way back is the backup that was made before the upgrade."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
