"""Generators and the versions of their weights."""

import datetime as dt
from typing import Any

from sqlalchemy import CheckConstraint
from sqlmodel import JSON, Column, Field, SQLModel

from db.models.base import UtcDateTime, one_of, sequence, utc_now


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
        CheckConstraint(one_of("weights", ("full", "lora")), name="weights_is_known"),
        CheckConstraint("weights = 'full' OR parent_id IS NOT NULL", name="lora_has_a_parent"),
    )
    id: str = Field(primary_key=True)
    generator_name: str = Field(foreign_key="generator.name", index=True)
    parent_id: str | None = Field(default=None, foreign_key="generator_version.id", index=True)
    weights: str = "full"  # "full": a whole diffusers folder; "lora": an adapter on the parent
    # "embedded", "imported", "begun", "train-generator", "rl-step", "checkpoint", "elsewhere"
    how_made: str
    config: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    reward_model_id: str | None = Field(default=None, foreign_key="reward_model.id")
    created_at: dt.datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    sequence: int | None = sequence("generator_version")


class GeneratorVersionFile(SQLModel, table=True):
    """One file of a version's folder."""

    __tablename__ = "generator_version_file"
    version_id: str = Field(foreign_key="generator_version.id", primary_key=True)
    path: str = Field(primary_key=True)  # relative, "/" between the parts
    file_sha256: str = Field(foreign_key="file.sha256", index=True)
