"""Rows of which the latest matters are numbered as they arrive: clocks run backwards."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("generator_version", "run", "reward_model", "release", "campaign", "round")


def upgrade() -> None:
    """Apply. Rows that are there already keep the order that their clock gave them."""
    for table in TABLES:
        op.add_column(
            table, sa.Column("sequence", sa.Integer(), server_default="0", nullable=False)
        )
        op.execute(
            f"UPDATE {table} SET sequence = ranked.place FROM "
            f"(SELECT id, row_number() OVER (ORDER BY created_at, id) AS place FROM {table}) "
            f"AS ranked WHERE {table}.id = ranked.id"
        )


def downgrade() -> None:
    """Undo."""
    for table in TABLES:
        op.drop_column(table, "sequence")
