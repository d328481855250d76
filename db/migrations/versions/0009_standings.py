"""What images are ordered by beside their scores."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "standing",
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("train_distance", sa.Float(), nullable=True),
        sa.Column("disagreement", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "train_distance >= 0", name=op.f("ck_standing_train_distance_is_not_negative")
        ),
        sa.CheckConstraint(
            "disagreement >= 0 AND disagreement <= 1",
            name=op.f("ck_standing_disagreement_is_in_range"),
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_standing_image_id_image")
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_standing")),
    )
    op.create_index("ix_standing_nearest_training", "standing", ["train_distance", "image_id"])
    op.create_index("ix_standing_disagreement", "standing", ["disagreement", "image_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("standing")
