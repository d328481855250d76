"""What people's rating forms ask beside grades, and controls that are spoiled on purpose."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Written out: SQLite adds a column with its CHECK in place, where Alembic would copy the table.
CHANGES = (
    "ALTER TABLE criterion ADD COLUMN kind VARCHAR DEFAULT 'scale' NOT NULL "
    "CONSTRAINT ck_criterion_kind_is_known CHECK (kind IN ('scale', 'origin'))",
    "ALTER TABLE criterion ADD COLUMN position INTEGER DEFAULT '0' NOT NULL",
    "ALTER TABLE comparison ADD COLUMN reasons JSON DEFAULT '[]' NOT NULL",
    "ALTER TABLE comparison ADD COLUMN comment VARCHAR DEFAULT '' NOT NULL",
    "ALTER TABLE rubric ADD COLUMN reasons JSON DEFAULT '[]' NOT NULL",
    "ALTER TABLE assignment ADD COLUMN spoiled VARCHAR",
)


def upgrade() -> None:
    """Apply."""
    for change in CHANGES:
        op.execute(change)


def downgrade() -> None:
    """Undo."""
    op.drop_column("assignment", "spoiled")
    op.drop_column("rubric", "reasons")
    op.drop_column("comparison", "comment")
    op.drop_column("comparison", "reasons")
    op.drop_column("criterion", "position")
    op.drop_column("criterion", "kind")
