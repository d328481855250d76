"""Rounds, releases, and the audit trail: what was decided."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import JSON, Column, Field, SQLModel

from db.models.base import UtcDateTime, one_of, sequence, utc_now

ARCHIVABLE = ("version", "campaign", "run", "release")
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


class Round(SQLModel, table=True):
    """One pass generate -> rate -> train-reward -> RL -> gate: a state machine kept in its row."""

    __table_args__ = (
        UniqueConstraint("loop_name", "number"),
        CheckConstraint(one_of("state", ROUND_STATES), name="state_is_known"),
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
    sequence: int | None = sequence("round")
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
    sequence: int | None = sequence("release")


class ReleaseDecision(SQLModel, table=True):
    """What a release decided of one image, and why."""

    __tablename__ = "release_decision"
    __table_args__ = (
        CheckConstraint("decision IN ('kept', 'rejected')", name="decision_is_known"),
        Index("ix_release_decision_why", "release_id", "decision", "reason", "image_id"),
    )
    release_id: str = Field(foreign_key="release.id", primary_key=True)
    image_id: UUID = Field(foreign_key="image.id", primary_key=True, index=True)
    decision: str
    reason: str
    score: float | None = None
    threshold: float | None = None


class Archived(SQLModel, table=True):
    """Something put aside: out of lists and of "latest", and deleted once nothing needs it."""

    __table_args__ = (CheckConstraint(one_of("kind", ARCHIVABLE), name="kind_is_known"),)
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class AuditEvent(SQLModel, table=True):
    """One thing somebody did. Append-only."""

    __tablename__ = "audit_event"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    actor: str  # the operating system's user
    command: str  # "generate", "rate simulate", ...
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
