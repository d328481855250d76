"""Indices in which people look through images: by score, by spread, by time, and of one prompt."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDICES = {
    "ix_score_best": ("score", ["reward_model_id", "mean", "image_id"]),
    "ix_score_least_sure": ("score", ["reward_model_id", "spread", "image_id"]),
    "ix_image_newest": ("image", ["created_at", "id"]),
    "ix_image_newest_of_origin": ("image", ["origin", "created_at", "id"]),
    "ix_image_newest_of_version": ("image", ["version_id", "created_at", "id"]),
    "ix_image_newest_of_prompt": ("image", ["prompt_id", "created_at", "id"]),
}


def upgrade() -> None:
    """Apply."""
    for name, (table, columns) in INDICES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Undo."""
    for name, (table, _) in INDICES.items():
        op.drop_index(name, table)
