"""Who is asked what, what was answered, and the reward models fitted to it."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import JSON, Column, Field, SQLModel

from db.models.base import UtcDateTime, one_of, sequence, utc_now

PURPOSES = ("train", "calibration", "control", "repeat", "gate")
SIDES = ("left", "right")
SHOWN_ROLES = ("source", "prior", "mask")  # condition images that raters see beside the image
IN_SLICES = "slices"  # in a campaign's config: how many pictures a volume is shown in, beyond one
MOST_SLICES = 9  # a picture's name holds one digit: "left1" .. "left9"
# begins the name of a rater that is a vision-language model: wherever the name goes, it says so.
# Such a rater counts as simulated, and its answers count nowhere unless they are asked for by name
MACHINE, BY_MACHINE = "machine:", "machine"  # the second: the backend of its campaigns
A_PERSON, SIMULATED, A_MACHINE = "a person", "simulated", "a machine"  # kinds of raters
CRITERION_KINDS = ("scale", "origin")  # how good an image is | whether it looks real


def side_of(name: str) -> str | None:
    """Return the side that a picture of this name shows, whole or a slice of it; None: no side."""
    side = name.rstrip("123456789")
    return side if side in SIDES and len(name) <= len(side) + 1 else None


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
        CheckConstraint(one_of("kind", CRITERION_KINDS), name="kind_is_known"),
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
    sequence: int | None = sequence("campaign")


class Rater(SQLModel, table=True):
    """A person, or a simulated one; of these, a model behind an address is named MACHINE."""

    __table_args__ = (
        CheckConstraint("expert_level BETWEEN 1 AND 3", name="expert_level_is_known"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True)
    expert_level: int = 3  # 1 = trainee .. 3 = specialist; weighs the loss, never the label
    simulated: bool = False
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


def kind_of(rater: str, *, simulated: bool) -> str:
    """Return what a rater is, by its name and its row's mark."""
    if rater.startswith(MACHINE):
        return A_MACHINE
    return SIMULATED if simulated else A_PERSON


class Assignment(SQLModel, table=True):
    """One thing for one rater to judge; its id is all that the rater's browser learns of it."""

    __table_args__ = (
        UniqueConstraint("campaign_id", "rater_id", "position"),
        CheckConstraint(one_of("purpose", PURPOSES), name="purpose_is_known"),
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
    sequence: int | None = sequence("reward_model")


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
