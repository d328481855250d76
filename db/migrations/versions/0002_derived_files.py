"""Values computed from others, kept in the store by the hash of what they were computed from."""

import sqlalchemy as sa
from alembic import op

from db.models import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "derived_file",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("length(key) = 64", name=op.f("ck_derived_file_key_is_a_hash")),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["file.sha256"], name=op.f("fk_derived_file_file_sha256_file")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_derived_file")),
    )
    op.create_index(
        op.f("ix_derived_file_file_sha256"), "derived_file", ["file_sha256"], unique=False
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("derived_file")
