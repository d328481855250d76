"""Things that were put aside."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "archived",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('version', 'campaign', 'run', 'release')",
            name=op.f("ck_archived_kind_is_known"),
        ),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_archived")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("archived")
