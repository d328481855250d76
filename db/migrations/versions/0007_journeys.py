"""Which study a real image is of, and pairs of one patient: a prior image and a later one."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "image_study",
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("patient", sa.String(), nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("study_date", sa.String(), nullable=True),
        sa.Column("position", sa.Float(), nullable=False),
        sa.Column("view", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("findings", sa.String(), nullable=False),
        sa.Column("impression", sa.String(), nullable=False),
        sa.Column("progression", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_study_image_id_image")
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image_study")),
    )
    op.create_index(op.f("ix_image_study_patient"), "image_study", ["patient"])
    op.create_table(
        "journey",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("prior_image_id", sa.Uuid(), nullable=False),
        sa.Column("new_image_id", sa.Uuid(), nullable=False),
        sa.Column("patient", sa.String(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("text_source", sa.String(), nullable=True),
        sa.Column("text_key", sa.String(), nullable=True),
        sa.Column("text_details", sa.JSON(), nullable=False),
        sa.Column("unchanged", sa.Boolean(), nullable=True),
        sa.Column("registered_sha256", sa.String(), nullable=True),
        sa.Column("transform", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("ncc", sa.Float(), nullable=True),
        sa.Column("overlap", sa.Float(), nullable=True),
        sa.Column("refused", sa.String(), nullable=True),
        sa.CheckConstraint(
            "prior_image_id <> new_image_id", name=op.f("ck_journey_journey_has_two_images")
        ),
        sa.CheckConstraint("days IS NULL OR days >= 1", name=op.f("ck_journey_prior_is_earlier")),
        sa.CheckConstraint(
            "split IN ('train', 'val', 'test')", name=op.f("ck_journey_split_is_known")
        ),
        sa.CheckConstraint(
            "text_source IS NULL OR text_source IN ('column', 'rules', 'api')",
            name=op.f("ck_journey_text_source_is_known"),
        ),
        sa.CheckConstraint(
            "ncc IS NULL OR (ncc >= -1 AND ncc <= 1)", name=op.f("ck_journey_ncc_is_a_correlation")
        ),
        sa.ForeignKeyConstraint(
            ["prior_image_id"], ["image.id"], name=op.f("fk_journey_prior_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["new_image_id"], ["image.id"], name=op.f("fk_journey_new_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["registered_sha256"], ["file.sha256"], name=op.f("fk_journey_registered_sha256_file")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journey")),
        sa.UniqueConstraint(
            "prior_image_id",
            "new_image_id",
            name=op.f("uq_journey_prior_image_id_new_image_id"),
        ),
    )
    for column in ("prior_image_id", "new_image_id", "patient"):
        op.create_index(op.f(f"ix_journey_{column}"), "journey", [column])


def downgrade() -> None:
    """Undo."""
    op.drop_table("journey")
    op.drop_table("image_study")
