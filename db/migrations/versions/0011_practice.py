"""What raters practise on before a campaign."""

import sqlalchemy as sa
from alembic import op

from db.models import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "practice",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("rubric_id", sa.Uuid(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("bar", sa.Float(), nullable=False),
        sa.Column("pass_size", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("bar > 0 AND bar <= 1", name=op.f("ck_practice_bar_is_a_share")),
        sa.CheckConstraint("pass_size >= 1", name=op.f("ck_practice_pass_size_is_positive")),
        sa.ForeignKeyConstraint(
            ["rubric_id"], ["rubric.id"], name=op.f("fk_practice_rubric_id_rubric")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice")),
        sa.UniqueConstraint("name", name=op.f("uq_practice_name")),
    )
    op.create_table(
        "practice_item",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("practice_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("spoiled", sa.String(), nullable=True),
        sa.Column("known", sa.JSON(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.CheckConstraint("position >= 0", name=op.f("ck_practice_item_position_is_not_negative")),
        sa.ForeignKeyConstraint(
            ["practice_id"], ["practice.id"], name=op.f("fk_practice_item_practice_id_practice")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_practice_item_image_id_image")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_item")),
        sa.UniqueConstraint(
            "practice_id", "position", name=op.f("uq_practice_item_practice_id_position")
        ),
    )
    op.create_index(op.f("ix_practice_item_image_id"), "practice_item", ["image_id"])
    op.create_table(
        "practice_answer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("practice_id", sa.Uuid(), nullable=False),
        sa.Column("rater_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("verdicts", sa.JSON(), nullable=False),
        sa.Column("answered_at", UtcDateTime(timezone=True), nullable=False),
        sa.CheckConstraint("number >= 0", name=op.f("ck_practice_answer_number_is_not_negative")),
        sa.ForeignKeyConstraint(
            ["practice_id"], ["practice.id"], name=op.f("fk_practice_answer_practice_id_practice")
        ),
        sa.ForeignKeyConstraint(
            ["rater_id"], ["rater.id"], name=op.f("fk_practice_answer_rater_id_rater")
        ),
        sa.ForeignKeyConstraint(
            ["item_id"],
            ["practice_item.id"],
            name=op.f("fk_practice_answer_item_id_practice_item"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_answer")),
        sa.UniqueConstraint(
            "practice_id",
            "rater_id",
            "number",
            name=op.f("uq_practice_answer_practice_id_rater_id_number"),
        ),
    )
    op.create_index(op.f("ix_practice_answer_rater_id"), "practice_answer", ["rater_id"])
    op.create_index(op.f("ix_practice_answer_item_id"), "practice_answer", ["item_id"])
    op.create_table(
        "campaign_practice",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("practice_id", sa.Uuid(), nullable=False),
        sa.Column("images_from", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_campaign_practice_campaign_id_campaign")
        ),
        sa.ForeignKeyConstraint(
            ["practice_id"], ["practice.id"], name=op.f("fk_campaign_practice_practice_id_practice")
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaign_practice")),
    )
    op.create_index(op.f("ix_campaign_practice_practice_id"), "campaign_practice", ["practice_id"])
    _make_answers_append_only()


def downgrade() -> None:
    """Undo."""
    for table in ("campaign_practice", "practice_answer", "practice_item", "practice"):
        op.drop_table(table)  # with its indexes and triggers


def _make_answers_append_only() -> None:
    table = "practice_answer"
    if op.get_bind().dialect.name == "postgresql":  # the function is there since 0001
        op.execute(
            f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
            f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_refuses_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
