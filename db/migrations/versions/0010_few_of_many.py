"""Indices by which few images among many are found: of one seed, and of one reason of a release."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDICES = {
    "ix_image_seed": ("image", ["seed"]),
    "ix_release_decision_why": (
        "release_decision",
        ["release_id", "decision", "reason", "image_id"],
    ),
}


def upgrade() -> None:
    """Apply."""
    for name, (table, columns) in INDICES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Undo."""
    for name, (table, _) in INDICES.items():
        op.drop_index(name, table)
