"""The first tables, and the triggers that keep verdicts and the audit trail append-only."""

import sqlalchemy as sa
from alembic import op

from db.models import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The tables, parents before children.
TABLES = (
    "audit_event",
    "environment",
    "file",
    "generator",
    "prompt",
    "rater",
    "rubric",
    "campaign",
    "criterion",
    "prompt_condition",
    "reward_model",
    "generator_version",
    "quarantined_answer",
    "release",
    "sync_mark",
    "generator_version_file",
    "run",
    "image",
    "round",
    "assignment",
    "release_decision",
    "score",
    "comparison",
    "rating",
    "reward_model_rating",
)
# What may only grow: a changed mind is a new row.
APPEND_ONLY = ("rating", "comparison", "audit_event")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_at"), "audit_event", ["at"], unique=False)

    op.create_table(
        "environment",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment")),
    )
    op.create_table(
        "file",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_file_sha256_is_a_hash")),
        sa.CheckConstraint("num_bytes >= 0", name=op.f("ck_file_num_bytes_is_not_negative")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_file")),
    )
    op.create_table(
        "generator",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_generator")),
    )
    op.create_table(
        "prompt",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("length(id) = 64", name=op.f("ck_prompt_id_is_a_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
    )
    op.create_index(op.f("ix_prompt_label"), "prompt", ["label"], unique=False)
    op.create_index(op.f("ix_prompt_modality"), "prompt", ["modality"], unique=False)

    op.create_table(
        "rater",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("expert_level", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "expert_level BETWEEN 1 AND 3", name=op.f("ck_rater_expert_level_is_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rater")),
        sa.UniqueConstraint("name", name=op.f("uq_rater_name")),
    )
    op.create_table(
        "rubric",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("instructions", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rubric")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_rubric_name_version")),
    )
    op.create_table(
        "campaign",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("rubric_id", sa.Uuid(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('rating', 'comparison')", name=op.f("ck_campaign_kind_is_known")
        ),
        sa.CheckConstraint("overlap >= 1", name=op.f("ck_campaign_overlap_is_positive")),
        sa.ForeignKeyConstraint(
            ["rubric_id"], ["rubric.id"], name=op.f("fk_campaign_rubric_id_rubric")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("name", name=op.f("uq_campaign_name")),
    )
    op.create_table(
        "criterion",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rubric_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("min_value", sa.Integer(), nullable=False),
        sa.Column("max_value", sa.Integer(), nullable=False),
        sa.Column("polarity", sa.String(), nullable=False),
        sa.Column("wording", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "polarity IN ('higher', 'lower')", name=op.f("ck_criterion_polarity_is_known")
        ),
        sa.CheckConstraint("min_value < max_value", name=op.f("ck_criterion_scale_has_two_values")),
        sa.ForeignKeyConstraint(
            ["rubric_id"], ["rubric.id"], name=op.f("fk_criterion_rubric_id_rubric")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_criterion")),
        sa.UniqueConstraint(
            "id", "min_value", "max_value", name=op.f("uq_criterion_id_min_value_max_value")
        ),
        sa.UniqueConstraint("rubric_id", "name", name=op.f("uq_criterion_rubric_id_name")),
    )
    op.create_index(op.f("ix_criterion_rubric_id"), "criterion", ["rubric_id"], unique=False)

    op.create_table(
        "prompt_condition",
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.CheckConstraint(
            "role IN ('mask', 'prior', 'source')", name=op.f("ck_prompt_condition_role_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["file.sha256"], name=op.f("fk_prompt_condition_file_sha256_file")
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_prompt_condition_prompt_id_prompt")
        ),
        sa.PrimaryKeyConstraint("prompt_id", "role", name=op.f("pk_prompt_condition")),
    )
    op.create_table(
        "reward_model",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("backbone", sa.String(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("num_ratings", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "role IN ('reward', 'judge')", name=op.f("ck_reward_model_role_is_known")
        ),
        sa.CheckConstraint("length(id) = 64", name=op.f("ck_reward_model_id_is_a_hash")),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["file.sha256"], name=op.f("fk_reward_model_file_sha256_file")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reward_model")),
    )
    op.create_table(
        "generator_version",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("generator_name", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=True),
        sa.Column("weights", sa.String(), nullable=False),
        sa.Column("how_made", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("reward_model_id", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "weights = 'full' OR parent_id IS NOT NULL",
            name=op.f("ck_generator_version_lora_has_a_parent"),
        ),
        sa.CheckConstraint(
            "weights IN ('full', 'lora')", name=op.f("ck_generator_version_weights_is_known")
        ),
        sa.CheckConstraint("length(id) = 64", name=op.f("ck_generator_version_id_is_a_hash")),
        sa.ForeignKeyConstraint(
            ["generator_name"],
            ["generator.name"],
            name=op.f("fk_generator_version_generator_name_generator"),
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["generator_version.id"],
            name=op.f("fk_generator_version_parent_id_generator_version"),
        ),
        sa.ForeignKeyConstraint(
            ["reward_model_id"],
            ["reward_model.id"],
            name=op.f("fk_generator_version_reward_model_id_reward_model"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generator_version")),
    )
    op.create_index(
        op.f("ix_generator_version_generator_name"),
        "generator_version",
        ["generator_name"],
        unique=False,
    )
    op.create_index(
        op.f("ix_generator_version_parent_id"), "generator_version", ["parent_id"], unique=False
    )

    op.create_table(
        "quarantined_answer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("source_uid", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaign.id"],
            name=op.f("fk_quarantined_answer_campaign_id_campaign"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined_answer")),
        sa.UniqueConstraint(
            "campaign_id",
            "source_uid",
            "content_hash",
            name=op.f("uq_quarantined_answer_campaign_id_source_uid_content_hash"),
        ),
    )
    op.create_index(
        op.f("ix_quarantined_answer_campaign_id"),
        "quarantined_answer",
        ["campaign_id"],
        unique=False,
    )

    op.create_table(
        "release",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("reward_model_id", sa.String(), nullable=True),
        sa.Column("rule", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("length(id) = 64", name=op.f("ck_release_id_is_a_hash")),
        sa.ForeignKeyConstraint(
            ["manifest_sha256"], ["file.sha256"], name=op.f("fk_release_manifest_sha256_file")
        ),
        sa.ForeignKeyConstraint(
            ["reward_model_id"],
            ["reward_model.id"],
            name=op.f("fk_release_reward_model_id_reward_model"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release")),
    )
    op.create_table(
        "sync_mark",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("mark", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_sync_mark_campaign_id_campaign")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "place", name=op.f("pk_sync_mark")),
    )
    op.create_table(
        "generator_version_file",
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_sha256"],
            ["file.sha256"],
            name=op.f("fk_generator_version_file_file_sha256_file"),
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["generator_version.id"],
            name=op.f("fk_generator_version_file_version_id_generator_version"),
        ),
        sa.PrimaryKeyConstraint("version_id", "path", name=op.f("pk_generator_version_file")),
    )
    op.create_index(
        op.f("ix_generator_version_file_file_sha256"),
        "generator_version_file",
        ["file_sha256"],
        unique=False,
    )

    op.create_table(
        "run",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("prompt_ids", sa.JSON(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_seed", sa.BigInteger(), nullable=False),
        sa.Column("num_items", sa.BigInteger(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("count >= 1", name=op.f("ck_run_count_is_positive")),
        sa.CheckConstraint("length(id) = 64", name=op.f("ck_run_id_is_a_hash")),
        sa.CheckConstraint("num_items >= 1", name=op.f("ck_run_num_items_is_positive")),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["generator_version.id"],
            name=op.f("fk_run_version_id_generator_version"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_version_id"), "run", ["version_id"], unique=False)

    op.create_table(
        "image",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.Column("pixels_sha256", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("prompt_id", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("spacing_mm", sa.JSON(), nullable=True),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("affine", sa.JSON(), nullable=True),
        sa.Column("version_id", sa.String(), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("run_index", sa.BigInteger(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=True),
        sa.Column("settings_hash", sa.String(), nullable=True),
        sa.Column("item_key", sa.String(), nullable=True),
        sa.Column("environment_id", sa.String(), nullable=True),
        sa.Column("source_path", sa.String(), nullable=True),
        sa.Column("patient", sa.String(), nullable=True),
        sa.Column("split", sa.String(), nullable=True),
        sa.Column("source", sa.String(), nullable=True),
        sa.Column("licence", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "origin <> 'real' OR version_id IS NULL", name=op.f("ck_image_real_has_no_version")
        ),
        sa.CheckConstraint(
            "origin <> 'synthetic' OR (version_id IS NOT NULL AND run_id IS NOT NULL"
            " AND run_index IS NOT NULL AND seed IS NOT NULL AND item_key IS NOT NULL)",
            name=op.f("ck_image_synthetic_can_be_made_again"),
        ),
        sa.CheckConstraint(
            "origin IN ('real', 'synthetic')", name=op.f("ck_image_origin_is_known")
        ),
        sa.CheckConstraint(
            "split IS NULL OR split IN ('train', 'val', 'test')",
            name=op.f("ck_image_split_is_known"),
        ),
        sa.CheckConstraint(
            "length(pixels_sha256) = 64", name=op.f("ck_image_pixels_sha256_is_a_hash")
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environment.id"], name=op.f("fk_image_environment_id_environment")
        ),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["file.sha256"], name=op.f("fk_image_file_sha256_file")
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompt.id"], name=op.f("fk_image_prompt_id_prompt")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_image_run_id_run")),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["generator_version.id"],
            name=op.f("fk_image_version_id_generator_version"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
        sa.UniqueConstraint("item_key", name=op.f("uq_image_item_key")),
    )
    op.create_index(op.f("ix_image_file_sha256"), "image", ["file_sha256"], unique=False)
    op.create_index(
        "ix_image_item", "image", ["version_id", "settings_hash", "prompt_id", "seed"], unique=False
    )
    op.create_index(op.f("ix_image_origin"), "image", ["origin"], unique=False)
    op.create_index(op.f("ix_image_patient"), "image", ["patient"], unique=False)
    op.create_index(op.f("ix_image_pixels_sha256"), "image", ["pixels_sha256"], unique=False)
    op.create_index(op.f("ix_image_prompt_id"), "image", ["prompt_id"], unique=False)
    op.create_index("ix_image_run", "image", ["run_id", "run_index"], unique=False)

    op.create_table(
        "round",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("loop_name", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("base_version_id", sa.String(), nullable=False),
        sa.Column("start_version_id", sa.String(), nullable=False),
        sa.Column("new_version_id", sa.String(), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("reward_model_id", sa.String(), nullable=True),
        sa.Column("gate_campaign_id", sa.Uuid(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state <> 'promoted' OR new_version_id IS NOT NULL",
            name=op.f("ck_round_promoted_has_a_version"),
        ),
        sa.CheckConstraint(
            "state IN ('planned', 'generated', 'pushed', 'rated', "
            "'trained', 'stepped', 'gate_pushed', 'gate_rated', "
            "'promoted', 'rejected')",
            name=op.f("ck_round_state_is_known"),
        ),
        sa.CheckConstraint("number >= 1", name=op.f("ck_round_number_is_positive")),
        sa.ForeignKeyConstraint(
            ["base_version_id"],
            ["generator_version.id"],
            name=op.f("fk_round_base_version_id_generator_version"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_round_campaign_id_campaign")
        ),
        sa.ForeignKeyConstraint(
            ["gate_campaign_id"], ["campaign.id"], name=op.f("fk_round_gate_campaign_id_campaign")
        ),
        sa.ForeignKeyConstraint(
            ["new_version_id"],
            ["generator_version.id"],
            name=op.f("fk_round_new_version_id_generator_version"),
        ),
        sa.ForeignKeyConstraint(
            ["reward_model_id"],
            ["reward_model.id"],
            name=op.f("fk_round_reward_model_id_reward_model"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_round_run_id_run")),
        sa.ForeignKeyConstraint(
            ["start_version_id"],
            ["generator_version.id"],
            name=op.f("fk_round_start_version_id_generator_version"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("loop_name", "number", name=op.f("uq_round_loop_name_number")),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("rater_id", sa.Uuid(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("other_image_id", sa.Uuid(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("selection_method", sa.String(), nullable=False),
        sa.Column("inclusion_probability", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "purpose IN ('train', 'calibration', 'control', 'repeat', 'gate')",
            name=op.f("ck_assignment_purpose_is_known"),
        ),
        sa.CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name=op.f("ck_assignment_inclusion_probability_is_in_range"),
        ),
        sa.CheckConstraint(
            "other_image_id IS NULL OR other_image_id <> image_id",
            name=op.f("ck_assignment_pair_has_two_images"),
        ),
        sa.CheckConstraint("position >= 0", name=op.f("ck_assignment_position_is_not_negative")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.id"], name=op.f("fk_assignment_campaign_id_campaign")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_assignment_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["other_image_id"], ["image.id"], name=op.f("fk_assignment_other_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["rater_id"], ["rater.id"], name=op.f("fk_assignment_rater_id_rater")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        sa.UniqueConstraint(
            "campaign_id",
            "rater_id",
            "position",
            name=op.f("uq_assignment_campaign_id_rater_id_position"),
        ),
    )
    op.create_index(op.f("ix_assignment_campaign_id"), "assignment", ["campaign_id"], unique=False)
    op.create_index(op.f("ix_assignment_image_id"), "assignment", ["image_id"], unique=False)
    op.create_index(op.f("ix_assignment_rater_id"), "assignment", ["rater_id"], unique=False)

    op.create_table(
        "release_decision",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "decision IN ('kept', 'rejected')", name=op.f("ck_release_decision_decision_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_release_decision_image_id_image")
        ),
        sa.ForeignKeyConstraint(
            ["release_id"], ["release.id"], name=op.f("fk_release_decision_release_id_release")
        ),
        sa.PrimaryKeyConstraint("release_id", "image_id", name=op.f("pk_release_decision")),
    )
    op.create_index(
        op.f("ix_release_decision_image_id"), "release_decision", ["image_id"], unique=False
    )

    op.create_table(
        "score",
        sa.Column("reward_model_id", sa.String(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=False),
        sa.Column("spread", sa.Float(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("spread >= 0", name=op.f("ck_score_spread_is_not_negative")),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_score_image_id_image")),
        sa.ForeignKeyConstraint(
            ["reward_model_id"],
            ["reward_model.id"],
            name=op.f("fk_score_reward_model_id_reward_model"),
        ),
        sa.PrimaryKeyConstraint("reward_model_id", "image_id", name=op.f("pk_score")),
    )
    op.create_index(op.f("ix_score_image_id"), "score", ["image_id"], unique=False)

    op.create_table(
        "comparison",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("criterion_id", sa.Uuid(), nullable=False),
        sa.Column("preferred", sa.String(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("lead_time_s", sa.Float(), nullable=True),
        sa.Column("source_uid", sa.String(), nullable=True),
        sa.Column("rated_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "preferred IS NULL OR preferred IN ('left', 'right', 'tie')",
            name=op.f("ck_comparison_preferred_is_known"),
        ),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_comparison_revision_is_positive")),
        sa.ForeignKeyConstraint(
            ["assignment_id"],
            ["assignment.id"],
            name=op.f("fk_comparison_assignment_id_assignment"),
        ),
        sa.ForeignKeyConstraint(
            ["criterion_id"], ["criterion.id"], name=op.f("fk_comparison_criterion_id_criterion")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
        sa.UniqueConstraint(
            "assignment_id",
            "criterion_id",
            "revision",
            name=op.f("uq_comparison_assignment_id_criterion_id_revision"),
        ),
    )
    op.create_index(
        op.f("ix_comparison_assignment_id"), "comparison", ["assignment_id"], unique=False
    )
    op.create_index(
        op.f("ix_comparison_criterion_id"), "comparison", ["criterion_id"], unique=False
    )
    op.create_index(op.f("ix_comparison_source_uid"), "comparison", ["source_uid"], unique=False)

    op.create_table(
        "rating",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("criterion_id", sa.Uuid(), nullable=False),
        sa.Column("scale_min", sa.Integer(), nullable=False),
        sa.Column("scale_max", sa.Integer(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("lead_time_s", sa.Float(), nullable=True),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("source_uid", sa.String(), nullable=True),
        sa.Column("rated_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_rating_revision_is_positive")),
        sa.CheckConstraint(
            "value IS NULL OR (value >= scale_min AND value <= scale_max)",
            name=op.f("ck_rating_value_is_on_the_scale"),
        ),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name=op.f("fk_rating_assignment_id_assignment")
        ),
        sa.ForeignKeyConstraint(
            ["criterion_id", "scale_min", "scale_max"],
            ["criterion.id", "criterion.min_value", "criterion.max_value"],
            name=op.f("fk_rating_criterion_id_scale_min_scale_max_criterion"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rating")),
        sa.UniqueConstraint(
            "assignment_id",
            "criterion_id",
            "revision",
            name=op.f("uq_rating_assignment_id_criterion_id_revision"),
        ),
    )
    op.create_index(op.f("ix_rating_assignment_id"), "rating", ["assignment_id"], unique=False)
    op.create_index(op.f("ix_rating_criterion_id"), "rating", ["criterion_id"], unique=False)
    op.create_index(op.f("ix_rating_source_uid"), "rating", ["source_uid"], unique=False)

    op.create_table(
        "reward_model_rating",
        sa.Column("reward_model_id", sa.String(), nullable=False),
        sa.Column("rating_id", sa.Uuid(), nullable=False),
        sa.Column("use", sa.String(), nullable=False),
        sa.CheckConstraint(
            "use IN ('fitted', 'held-out')", name=op.f("ck_reward_model_rating_use_is_known")
        ),
        sa.ForeignKeyConstraint(
            ["rating_id"], ["rating.id"], name=op.f("fk_reward_model_rating_rating_id_rating")
        ),
        sa.ForeignKeyConstraint(
            ["reward_model_id"],
            ["reward_model.id"],
            name=op.f("fk_reward_model_rating_reward_model_id_reward_model"),
        ),
        sa.PrimaryKeyConstraint(
            "reward_model_id", "rating_id", name=op.f("pk_reward_model_rating")
        ),
    )
    for table in APPEND_ONLY:
        _make_append_only(table)


def downgrade() -> None:
    """Undo."""
    for table in reversed(TABLES):
        op.drop_table(table)  # with its indexes and triggers
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")


def _make_append_only(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME "
            "USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
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
