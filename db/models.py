"""The tables. Everything has a parent: image -> version -> round -> reward model -> rating.

Rules that must hold live in the database: foreign keys, CHECKs, unique keys, and triggers (in the
migrations) that keep ratings, comparisons and the audit trail append-only. A hash is 64 lower-case
hexadecimal digits of SHA-256. Times are UTC.
"""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import JSON, Column, Field, SQLModel

ORIGINS = ("real", "synthetic")
PURPOSES = ("train", "calibration", "control", "repeat", "gate")
SIDES = ("left", "right")
SHOWN_ROLES = ("source", "prior", "mask")  # condition images that raters see beside the image
CRITERION_KINDS = ("scale", "origin")  # how good an image is | whether it looks real
ROUND_STATES = (
    "planned",
    "generated",
    "pushed",
    "rated",
    "trained",
    "stepped",
    "gate_pushed",
    "gate_rated",
    "promoted",
    "rejected",
)

# One naming scheme for constraints, so that migrations can name what they change.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(sa.types.TypeDecorator[dt.datetime]):
    """An aware datetime in UTC on every database (SQLite alone would forget the zone)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> Any:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> dt.datetime | None:
        """Return aware UTC."""
        if value is None:
            return None
        aware: dt.datetime = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC)


def utc_now() -> dt.datetime:
    """Return the present moment as an aware UTC datetime."""
    return dt.datetime.now(dt.UTC)


def _one_of(column: str, allowed: tuple[str, ...]) -> str:
    names = ", ".join(f"'{name}'" for name in allowed)
    return f"{column} IN ({names})"


def _sequence(table: str) -> Any:
    """Number a table's rows in the order they were added: what is latest is no clock's to say."""
    following = sa.text(f"(SELECT coalesce(max(sequence), 0) + 1 FROM {table})")
    column = Column(sa.Integer, nullable=False, default=following, server_default="0")
    return Field(default=None, sa_column=column)


class File(SQLModel, table=True):
    """A file in the store, known by its bytes."""

    __table_args__ = (
        CheckConstraint("length(sha256) = 64", name="sha256_is_a_hash"),
        CheckConstraint("num_bytes >= 0", name="num_bytes_is_not_negative"),
    )
    sha256: str = Field(primary_key=True)
    num_bytes: int = Field(sa_type=sa.BigInteger)
    media_type: str  # "image/png", "application/x-safetensors", ...
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class DerivedFile(SQLModel, table=True):
    """A stored value computed from other things, by the hash of what it was computed from.

    A cache that every machine of a project shares: latents, text embeddings, captions. Several keys
    may share one file, in which each has its own entry.
    """

    __tablename__ = "derived_file"
    __table_args__ = (CheckConstraint("length(key) = 64", name="key_is_a_hash"),)
    key: str = Field(primary_key=True)
    file_sha256: str = Field(foreign_key="file.sha256", index=True)
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Prompt(SQLModel, table=True):
    """What an image should show, or what a real one shows. Its id hashes all it says."""

    __table_args__ = (CheckConstraint("length(id) = 64", name="id_is_a_hash"),)
    id: str = Field(primary_key=True)
    modality: str = Field(index=True)
    text: str
    label: str | None = Field(default=None, index=True)
    record: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class PromptCondition(SQLModel, table=True):
    """A condition image of a prompt, by its role: any lower-case name; a family says its own.

    The usual ones: mask (its pixels are classes), prior (an earlier image), source (one to change).
    """

    __tablename__ = "prompt_condition"
    __table_args__ = (
        CheckConstraint("role <> '' AND role = lower(role)", name="role_is_lower_case"),
    )
    prompt_id: str = Field(foreign_key="prompt.id", primary_key=True)
    role: str = Field(primary_key=True)
    file_sha256: str = Field(foreign_key="file.sha256")
    # the image of this workspace that the file is: whose patient, where it lies
    image_id: UUID | None = Field(default=None, foreign_key="image.id")


class Generator(SQLModel, table=True):
    """A named generator of one family; its weights are its versions."""

    name: str = Field(primary_key=True)
    family: str  # as in generators/registry.py
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class GeneratorVersion(SQLModel, table=True):
    """One set of weights. Its id hashes its files, {path: SHA-256}; a LoRA's its parent too."""

    __tablename__ = "generator_version"
    __table_args__ = (
        CheckConstraint("length(id) = 64", name="id_is_a_hash"),
        CheckConstraint(_one_of("weights", ("full", "lora")), name="weights_is_known"),
        CheckConstraint("weights = 'full' OR parent_id IS NOT NULL", name="lora_has_a_parent"),
    )
    id: str = Field(primary_key=True)
    generator_name: str = Field(foreign_key="generator.name", index=True)
    parent_id: str | None = Field(default=None, foreign_key="generator_version.id", index=True)
    weights: str = "full"  # "full": a whole diffusers folder; "lora": an adapter on the parent
    how_made: str  # "embedded", "imported", "begun", "train-generator", "rl-step"
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    reward_model_id: str | None = Field(default=None, foreign_key="reward_model.id")
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = _sequence("generator_version")


class GeneratorVersionFile(SQLModel, table=True):
    """One file of a version's folder."""

    __tablename__ = "generator_version_file"
    version_id: str = Field(foreign_key="generator_version.id", primary_key=True)
    path: str = Field(primary_key=True)  # relative, "/" between the parts
    file_sha256: str = Field(foreign_key="file.sha256", index=True)


class Run(SQLModel, table=True):
    """One plan of images: item i is prompt i // count with seed first_seed + i % count."""

    __table_args__ = (
        CheckConstraint("length(id) = 64", name="id_is_a_hash"),
        CheckConstraint("count >= 1", name="count_is_positive"),
        CheckConstraint("num_items >= 1", name="num_items_is_positive"),
    )
    id: str = Field(primary_key=True)  # hash of the plan
    version_id: str = Field(foreign_key="generator_version.id", index=True)
    prompt_ids: list[str] = Field(sa_column=Column(JSON, nullable=False))  # in plan order
    count: int  # images a prompt
    first_seed: int = Field(sa_type=sa.BigInteger)
    num_items: int = Field(sa_type=sa.BigInteger)
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = _sequence("run")


class Environment(SQLModel, table=True):
    """Library versions and device that made images; its id hashes them."""

    id: str = Field(primary_key=True)
    details: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class Image(SQLModel, table=True):
    """A file with an origin. A synthetic one can be made again; a real one says whence it came."""

    __table_args__ = (
        CheckConstraint(_one_of("origin", ORIGINS), name="origin_is_known"),
        CheckConstraint(
            "origin <> 'synthetic' OR (version_id IS NOT NULL AND run_id IS NOT NULL"
            " AND run_index IS NOT NULL AND seed IS NOT NULL AND item_key IS NOT NULL)",
            name="synthetic_can_be_made_again",
        ),
        CheckConstraint("origin <> 'real' OR version_id IS NULL", name="real_has_no_version"),
        CheckConstraint(
            "split IS NULL OR split IN ('train', 'val', 'test')", name="split_is_known"
        ),
        CheckConstraint("length(pixels_sha256) = 64", name="pixels_sha256_is_a_hash"),
        Index("ix_image_item", "version_id", "settings_hash", "prompt_id", "seed"),
        Index("ix_image_run", "run_id", "run_index"),
        Index("ix_image_newest", "created_at", "id"),
        Index("ix_image_newest_of_prompt", "prompt_id", "created_at", "id"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    file_sha256: str = Field(foreign_key="file.sha256", index=True)
    pixels_sha256: str = Field(index=True)  # of the decoded array's bytes, shape and dtype
    origin: str = Field(index=True)
    prompt_id: str = Field(foreign_key="prompt.id", index=True)
    shape: list[int] = Field(sa_column=Column(JSON, nullable=False))  # [channels, *spatial]
    spacing_mm: list[float] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    unit: str = "intensity"  # or "HU"
    affine: list[list[float]] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True))
    )  # voxel -> mm
    # synthetic only
    version_id: str | None = Field(default=None, foreign_key="generator_version.id")
    run_id: str | None = Field(default=None, foreign_key="run.id")
    run_index: int | None = Field(default=None, sa_type=sa.BigInteger)
    seed: int | None = Field(default=None, sa_type=sa.BigInteger)
    # of a synthetic image how it was sampled, of a real one from a scan its slice and window
    settings: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    settings_hash: str | None = None
    item_key: str | None = Field(default=None, unique=True)  # version, prompt, seed, settings
    environment_id: str | None = Field(default=None, foreign_key="environment.id")
    # real only
    source_path: str | None = None  # as the imported table wrote it
    patient: str | None = Field(default=None, index=True)
    split: str | None = None
    source: str | None = None
    licence: str | None = None
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class ImageStudy(SQLModel, table=True):
    """What a real image is of: which study of its patient, when, from which side, what was said."""

    __tablename__ = "image_study"
    image_id: UUID = Field(foreign_key="image.id", primary_key=True)
    patient: str = Field(index=True)
    study: str
    # ISO; of DICOM files shifted by days that are the patient's secret, so that intervals hold
    study_date: str | None = None
    position: float  # where among the patient's studies: what a layout orders them by
    view: str  # AP, PA, LATERAL ...; "" where the table does not say
    language: str = "en"  # of the report
    findings: str = ""  # the report's sections
    impression: str = ""
    progression: str = ""  # the user's own words on what changed
    labels: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    place: str  # FILE:LINE that it was read from


class Journey(SQLModel, table=True):
    """Two images of one patient, the prior taken strictly before the new one, and what changed."""

    __table_args__ = (
        UniqueConstraint("prior_image_id", "new_image_id"),
        CheckConstraint("prior_image_id <> new_image_id", name="journey_has_two_images"),
        CheckConstraint("days IS NULL OR days >= 1", name="prior_is_earlier"),
        CheckConstraint("split IN ('train', 'val', 'test')", name="split_is_known"),
        CheckConstraint(
            "text_source IS NULL OR text_source IN ('column', 'rules', 'api')",
            name="text_source_is_known",
        ),
        CheckConstraint("ncc IS NULL OR (ncc >= -1 AND ncc <= 1)", name="ncc_is_a_correlation"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    prior_image_id: UUID = Field(foreign_key="image.id", index=True)
    new_image_id: UUID = Field(foreign_key="image.id", index=True)
    patient: str = Field(index=True)
    days: int | None = None  # between the two; None where a layout knows their order only
    split: str  # of the patient
    # what changed, in words
    text: str | None = None
    text_source: str | None = None
    text_key: str | None = None  # hash of all that the text was made from
    text_details: dict[str, Any] = Field(
        default_factory=dict, sa_column=Column(JSON, nullable=False)
    )
    unchanged: bool | None = None  # the text says that nothing changed
    # the new image laid onto the prior
    registered_sha256: str | None = Field(default=None, foreign_key="file.sha256")
    transform: dict[str, Any] | None = Field(
        default=None, sa_column=Column(JSON(none_as_null=True))
    )
    ncc: float | None = None
    overlap: float | None = None  # share of the prior's field that the new image covers
    refused: str | None = None  # why it is not trained on; None: it is


class Rubric(SQLModel, table=True):
    """A versioned set of criteria. A change of wording is a new version."""

    __table_args__ = (UniqueConstraint("name", "version"),)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str
    version: int
    instructions: str = ""
    # flaws that a rater may tick, beside the verdicts
    reasons: list[str] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False, server_default="[]")
    )
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Criterion(SQLModel, table=True):
    """One question of a rubric, with its scale, wording and polarity."""

    __table_args__ = (
        UniqueConstraint("rubric_id", "name"),
        UniqueConstraint("id", "min_value", "max_value"),  # ratings point here: value on the scale
        CheckConstraint("min_value < max_value", name="scale_has_two_values"),
        CheckConstraint("polarity IN ('higher', 'lower')", name="polarity_is_known"),
        CheckConstraint(_one_of("kind", CRITERION_KINDS), name="kind_is_known"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    rubric_id: UUID = Field(foreign_key="rubric.id", index=True)
    name: str
    kind: str = Field(default="scale", sa_column_kwargs={"server_default": "scale"})
    position: int = Field(default=0, sa_column_kwargs={"server_default": "0"})  # in the form
    question: str
    min_value: int
    max_value: int
    polarity: str = "higher"  # which end is better
    wording: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class Campaign(SQLModel, table=True):
    """A rating study: who rates what, on which rubric, in which blind order."""

    __table_args__ = (
        CheckConstraint("kind IN ('rating', 'comparison')", name="kind_is_known"),
        CheckConstraint("overlap >= 1", name="overlap_is_positive"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True)
    kind: str = "rating"
    rubric_id: UUID = Field(foreign_key="rubric.id")
    seed: int
    overlap: int  # raters an image
    simulated: bool  # True: the raters are networks, said wherever their ratings show
    backend: str  # "simulated", "label-studio", "csv"
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = _sequence("campaign")


class Rater(SQLModel, table=True):
    """A person, or a simulated one."""

    __table_args__ = (
        CheckConstraint("expert_level BETWEEN 1 AND 3", name="expert_level_is_known"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True)
    expert_level: int = 3  # 1 = trainee .. 3 = specialist; weighs the loss, never the label
    simulated: bool = False
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Assignment(SQLModel, table=True):
    """One thing for one rater to judge; its id is all that the rater's browser learns of it."""

    __table_args__ = (
        UniqueConstraint("campaign_id", "rater_id", "position"),
        CheckConstraint(_one_of("purpose", PURPOSES), name="purpose_is_known"),
        CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name="inclusion_probability_is_in_range",
        ),
        CheckConstraint("position >= 0", name="position_is_not_negative"),
        CheckConstraint(
            "other_image_id IS NULL OR other_image_id <> image_id", name="pair_has_two_images"
        ),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    campaign_id: UUID = Field(foreign_key="campaign.id", index=True)
    rater_id: UUID = Field(foreign_key="rater.id", index=True)
    image_id: UUID = Field(foreign_key="image.id", index=True)  # of a pair: the left one
    other_image_id: UUID | None = Field(default=None, foreign_key="image.id")  # the right one
    position: int  # 0-based, in this rater's seeded order
    purpose: str = "train"
    selection_method: str = "all"
    inclusion_probability: float = 1.0
    # how the image is spoiled before it is shown: a control that every rater should refuse
    spoiled: str | None = None


class Rating(SQLModel, table=True):
    """One rater's verdict for one criterion. Append-only: a changed mind is the next revision."""

    __table_args__ = (
        UniqueConstraint("assignment_id", "criterion_id", "revision"),
        ForeignKeyConstraint(
            ["criterion_id", "scale_min", "scale_max"],
            ["criterion.id", "criterion.min_value", "criterion.max_value"],
        ),
        CheckConstraint(
            "value IS NULL OR (value >= scale_min AND value <= scale_max)",
            name="value_is_on_the_scale",
        ),
        CheckConstraint("revision >= 1", name="revision_is_positive"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    assignment_id: UUID = Field(foreign_key="assignment.id", index=True)
    criterion_id: UUID = Field(index=True)
    scale_min: int  # repeats the criterion's scale: the foreign key keeps both equal
    scale_max: int
    value: int | None  # None: the rater withdrew the answer
    revision: int = 1  # the highest revision counts
    lead_time_s: float | None = None  # as the browser claims
    reasons: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    comment: str = ""
    source_uid: str | None = Field(default=None, index=True)  # the backend's id of the answer
    rated_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Comparison(SQLModel, table=True):
    """One rater's preference within a pair. Append-only like a rating."""

    __table_args__ = (
        UniqueConstraint("assignment_id", "criterion_id", "revision"),
        CheckConstraint(
            "preferred IS NULL OR preferred IN ('left', 'right', 'tie')", name="preferred_is_known"
        ),
        CheckConstraint("revision >= 1", name="revision_is_positive"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    assignment_id: UUID = Field(foreign_key="assignment.id", index=True)
    criterion_id: UUID = Field(foreign_key="criterion.id", index=True)
    preferred: str | None  # None: withdrawn
    revision: int = 1
    lead_time_s: float | None = None
    reasons: list[str] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False, server_default="[]")
    )
    comment: str = Field(default="", sa_column_kwargs={"server_default": ""})
    source_uid: str | None = Field(default=None, index=True)
    rated_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class QuarantinedAnswer(SQLModel, table=True):
    """An answer that could not be taken, with the reason and all that came."""

    __tablename__ = "quarantined_answer"
    __table_args__ = (UniqueConstraint("campaign_id", "source_uid", "content_hash"),)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    campaign_id: UUID | None = Field(default=None, foreign_key="campaign.id", index=True)
    source_uid: str
    content_hash: str
    reason: str
    content: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class SyncMark(SQLModel, table=True):
    """How far a campaign's answers have been pulled from one place."""

    __tablename__ = "sync_mark"
    campaign_id: UUID = Field(foreign_key="campaign.id", primary_key=True)
    place: str = Field(primary_key=True)  # a project of the backend
    mark: dt.datetime = Field(sa_type=UtcDateTime)


class RewardModel(SQLModel, table=True):
    """A model fitted to ratings. Its id hashes its files and what it was fitted to."""

    __tablename__ = "reward_model"
    __table_args__ = (
        CheckConstraint("length(id) = 64", name="id_is_a_hash"),
        CheckConstraint("role IN ('reward', 'judge')", name="role_is_known"),
    )
    id: str = Field(primary_key=True)
    role: str = "reward"  # a judge only measures
    backbone: str
    file_sha256: str = Field(foreign_key="file.sha256")  # safetensors
    simulated: bool  # fitted to simulated ratings
    num_ratings: int
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = _sequence("reward_model")


class RewardModelRating(SQLModel, table=True):
    """Which ratings a reward model was fitted to, and which were held out."""

    __tablename__ = "reward_model_rating"
    __table_args__ = (CheckConstraint("use IN ('fitted', 'held-out')", name="use_is_known"),)
    reward_model_id: str = Field(foreign_key="reward_model.id", primary_key=True)
    rating_id: UUID = Field(foreign_key="rating.id", primary_key=True)
    use: str


class Score(SQLModel, table=True):
    """What one reward model says of one image."""

    __table_args__ = (
        CheckConstraint("spread >= 0", name="spread_is_not_negative"),
        Index("ix_score_best", "reward_model_id", "mean", "image_id"),
        Index("ix_score_least_sure", "reward_model_id", "spread", "image_id"),
    )
    reward_model_id: str = Field(foreign_key="reward_model.id", primary_key=True)
    image_id: UUID = Field(foreign_key="image.id", primary_key=True, index=True)
    mean: float  # expected probability of the top rating, 0 .. 1
    spread: float  # posterior standard deviation of the reward
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Round(SQLModel, table=True):
    """One pass generate -> rate -> train-reward -> RL -> gate: a state machine kept in its row."""

    __table_args__ = (
        UniqueConstraint("loop_name", "number"),
        CheckConstraint(_one_of("state", ROUND_STATES), name="state_is_known"),
        CheckConstraint("number >= 1", name="number_is_positive"),
        CheckConstraint(
            "state <> 'promoted' OR new_version_id IS NOT NULL", name="promoted_has_a_version"
        ),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    loop_name: str
    number: int
    state: str = "planned"
    base_version_id: str = Field(foreign_key="generator_version.id")  # where the loop began
    start_version_id: str = Field(foreign_key="generator_version.id")  # where this round began
    new_version_id: str | None = Field(default=None, foreign_key="generator_version.id")
    run_id: str | None = Field(default=None, foreign_key="run.id")
    campaign_id: UUID | None = Field(default=None, foreign_key="campaign.id")
    reward_model_id: str | None = Field(default=None, foreign_key="reward_model.id")
    gate_campaign_id: UUID | None = Field(default=None, foreign_key="campaign.id")
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    reasons: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = _sequence("round")
    updated_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Release(SQLModel, table=True):
    """An exported set. Its id hashes the manifest that rebuilds it."""

    __table_args__ = (CheckConstraint("length(id) = 64", name="id_is_a_hash"),)
    id: str = Field(primary_key=True)
    name: str
    manifest_sha256: str = Field(foreign_key="file.sha256")
    reward_model_id: str | None = Field(default=None, foreign_key="reward_model.id")
    rule: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    evidence: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = _sequence("release")


class ReleaseDecision(SQLModel, table=True):
    """What a release decided of one image, and why."""

    __tablename__ = "release_decision"
    __table_args__ = (
        CheckConstraint("decision IN ('kept', 'rejected')", name="decision_is_known"),
    )
    release_id: str = Field(foreign_key="release.id", primary_key=True)
    image_id: UUID = Field(foreign_key="image.id", primary_key=True, index=True)
    decision: str
    reason: str
    score: float | None = None
    threshold: float | None = None


class AuditEvent(SQLModel, table=True):
    """One thing somebody did. Append-only."""

    __tablename__ = "audit_event"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    actor: str  # the operating system's user
    command: str  # "generate", "rate simulate", ...
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
