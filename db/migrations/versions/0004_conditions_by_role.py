"""Condition images by any lower-case role, and which image of the workspace each is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHECK = "ck_prompt_condition_role_is_known"
NEW_CHECK = "ck_prompt_condition_role_is_lower_case"
IMAGE = "fk_prompt_condition_image_id_image"


def upgrade() -> None:
    """Apply. No table points at this one, so that SQLite may copy it."""
    with op.batch_alter_table("prompt_condition") as table:
        table.drop_constraint(op.f(CHECK), type_="check")
        table.create_check_constraint(op.f(NEW_CHECK), "role <> '' AND role = lower(role)")
        table.add_column(sa.Column("image_id", sa.Uuid(), nullable=True))
        table.create_foreign_key(op.f(IMAGE), "image", ["image_id"], ["id"])


def downgrade() -> None:
    """Undo; conditions of other roles than the three of before are lost."""
    op.execute("DELETE FROM prompt_condition WHERE role NOT IN ('mask', 'prior', 'source')")
    with op.batch_alter_table("prompt_condition") as table:
        table.drop_constraint(op.f(IMAGE), type_="foreignkey")
        table.drop_column("image_id")
        table.drop_constraint(op.f(NEW_CHECK), type_="check")
        table.create_check_constraint(op.f(CHECK), "role IN ('mask', 'prior', 'source')")
